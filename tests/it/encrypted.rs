//! Databases that ask for encryption, certificates and a password from a file. With the right ones everything works, and each
//! wrong one is a stop that says what to do.

use std::time::Duration;

use footprint_stack::{Certificates, Identity};

use crate::support::calm;
use crate::support::prove::prove_within;
use crate::support::stack;
use crate::support::terminator::Terminator;
use crate::support::world::World;

/// Stores more records, and proves all that the world holds.
fn stores(world: &mut World) {
    world.command(&["migrate"]);
    world.send(5_000);
    let mut consumer = world.consumer();
    prove_within(world, Duration::from_secs(60), &mut [&mut consumer]);
    consumer.stop();
    assert!(world.command(&["verify"]).contains("no fault"));
    // so that the program has something to do, and must say why it cannot
    world.send(50);
}

/// The client's certificate and key for `section`.
fn show(world: &mut World, [cert_file, key_file]: [&'static str; 2], identity: &Identity) {
    let (certificate, key) =
        (world.file("client.pem", identity.certificate()), world.file("client.key", identity.key()));
    world.set_text(cert_file, certificate.display());
    world.set_text(key_file, key.display());
}

#[test]
fn postgresql_that_asks_for_tls_and_certificates() {
    let _calm = calm();
    let postgres = stack().postgres().unwrap();
    let (plain, certified) = ("tls_plain", "tls_certified");
    let (trusted, stranger) = (Certificates::new(certified).unwrap(), Certificates::new(certified).unwrap());
    let mut world = World::without_tables("encrypted_postgres", 1, 0.005);
    for role in [plain, certified] {
        postgres.create_role(role, stack().user_password()).unwrap();
    }
    postgres.give_database(&world.database, plain).unwrap();
    postgres.execute("postgres", &format!("grant {plain} to {certified}")).unwrap();
    world.set_text("postgres.user", plain);
    let ca_file = world.file("ca.pem", &trusted.authority);

    // TLS never falls back to plain text: the server has no TLS yet
    world.set_text("postgres.tls", "on");
    world.set_text("postgres.ca_file", ca_file.display());
    world.is_named("it has no TLS");

    postgres.speak_tls(&trusted.server, &trusted.authority).unwrap();
    postgres.demand_tls(plain, false).unwrap();
    postgres.demand_tls(certified, true).unwrap();
    stores(&mut world);

    // without encryption, and with another authority, or the public ones
    world.set_text("postgres.tls", "off");
    world.set_text("postgres.ca_file", "");
    world.is_named("set postgres.tls = \"on\"");
    world.set_text("postgres.tls", "on");
    world.is_named("set postgres.ca_file");
    let other = world.file("other.pem", &stranger.authority);
    world.set_text("postgres.ca_file", other.display());
    world.is_named("set postgres.ca_file");
    world.set_text("postgres.ca_file", ca_file.display());

    // with a client certificate
    let files = ["postgres.cert_file", "postgres.key_file"];
    world.set_text("postgres.user", certified);
    world.is_named("postgres.cert_file");
    show(&mut world, files, &stranger.client);
    world.is_named("does not accept the client's certificate");
    show(&mut world, files, &trusted.client);
    stores(&mut world);

    // a server that is not the right one
    postgres.speak_tls(&trusted.misnamed_server, &trusted.authority).unwrap();
    world.is_named("for another name");
    postgres.speak_tls(&trusted.expired_server, &trusted.authority).unwrap();
    world.is_named("has expired");
}

#[test]
fn clickhouse_behind_a_terminator_that_asks_for_tls_and_certificates() {
    let _calm = calm();
    let server_port = stack().clickhouse().unwrap().http_port();
    let (trusted, stranger) = (Certificates::new("footprint").unwrap(), Certificates::new("footprint").unwrap());
    let mut world = World::without_tables("encrypted_clickhouse", 1, 0.005);
    let ca_file = world.file("ca.pem", &trusted.authority);
    let before = |world: &mut World, identity: &Identity, client_authority: Option<&str>| {
        let terminator = Terminator::start(server_port, identity, client_authority);
        world.set("clickhouse.port", &terminator.port().to_string());
        terminator
    };
    world.set_text("clickhouse.tls", "on");
    world.set_text("clickhouse.ca_file", ca_file.display());
    let terminator = before(&mut world, &trusted.server, None);
    stores(&mut world);

    // without encryption, and with another authority, or the public ones
    world.set_text("clickhouse.tls", "off");
    world.set_text("clickhouse.ca_file", "");
    world.is_named("set clickhouse.tls = \"on\"");
    world.set_text("clickhouse.tls", "on");
    world.is_named("set clickhouse.ca_file");
    let other = world.file("other.pem", &stranger.authority);
    world.set_text("clickhouse.ca_file", other.display());
    world.is_named("set clickhouse.ca_file");
    world.set_text("clickhouse.ca_file", ca_file.display());
    drop(terminator);

    // with a client certificate
    let files = ["clickhouse.cert_file", "clickhouse.key_file"];
    let terminator = before(&mut world, &trusted.server, Some(&trusted.authority));
    world.is_named("clickhouse.cert_file");
    show(&mut world, files, &stranger.client);
    world.is_named("does not accept the client's certificate");
    show(&mut world, files, &trusted.client);
    stores(&mut world);
    drop(terminator);

    // a server that is not the right one, and one that speaks no TLS: there is no fallback to plain text
    let terminator = before(&mut world, &trusted.misnamed_server, None);
    world.is_named("for another name");
    drop(terminator);
    let terminator = before(&mut world, &trusted.expired_server, None);
    world.is_named("has expired");
    drop(terminator);
    // not ClickHouse's own port: 26.7 ends with SIGABRT if a TLS client closes the connection before the answer
    world.set("clickhouse.port", &speaks_no_tls().to_string());
    world.is_named("does not speak TLS");
}

/// A port that answers every client in plain HTTP, as ClickHouse answers what it cannot read, until the process ends.
fn speaks_no_tls() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            use std::io::{Read as _, Write as _};
            // a client that closes first has what it needs
            let _ = client.read(&mut [0; 1024]);
            let _ = client.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        }
    });
    port
}

#[test]
fn files_of_certificates_and_passwords_are_named_when_they_are_of_no_use() {
    let _calm = calm();
    let mut world = World::without_tables("encrypted_files", 1, 0.0);
    let refused = |world: &World, message: &str| {
        let (status, out, err) = world.outcome(&["check"]);
        assert!(status == 2 && err.contains(message), "{message}: {status}: {out}{err}");
        assert!(!err.contains(stack().user_password()), "no password is shown: {err}");
    };
    let (one, other) = (Certificates::new("footprint").unwrap(), Certificates::new("footprint").unwrap());
    world.set_text("postgres.tls", "on");
    world.set_text("postgres.ca_file", "/nowhere/ca.pem");
    refused(&world, "postgres.ca_file: /nowhere/ca.pem: it cannot be read");
    world.set_text("postgres.ca_file", "");
    world.set_text("postgres.cert_file", world.file("client.pem", one.client.certificate()).display().to_string());
    refused(&world, "postgres.cert_file and postgres.key_file belong together");
    world.set_text("postgres.key_file", world.file("client.key", other.client.key()).display().to_string());
    refused(&world, "the key does not belong to the certificate in");
    world.set_text("postgres.tls", "off");
    refused(&world, "postgres.tls is off");
    world.set_text("postgres.cert_file", "");
    world.set_text("postgres.key_file", "");

    let secret = world.file("password", &format!("{}\n", stack().user_password()));
    world.set_text("postgres.password_file", secret.display());
    world.set_text("clickhouse.password_file", secret.display());
    refused(&world, "postgres.password and postgres.password_file are both set");
    world.set_text("postgres.password", "");
    world.set_text("clickhouse.password", "");
    stores(&mut world);
    world.set_text("clickhouse.password_file", "/nowhere/password");
    refused(&world, "clickhouse.password_file: /nowhere/password: it cannot be read");
}
