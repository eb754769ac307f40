//! A broker that asks for a login. With the right password or certificate everything works. With a wrong one each command says
//! why in one line, and ends.

use std::path::Path;
use std::time::{Duration, Instant};

use footprint_stack::KafkaSecurity;

use crate::support::prove::prove;
use crate::support::world::{STORED, World};
use crate::support::{calm, stack};

/// How long a command may take. If it is refused, it must not wait longer than its questions do.
const DEADLINE: Duration = Duration::from_secs(90);
const REFUSED: Duration = Duration::from_secs(30);

fn security() -> &'static KafkaSecurity {
    stack().kafka().unwrap().security().unwrap()
}

/// A world whose program connects to Kafka at `at` with `properties`.
fn world(name: &str, at: &str, properties: &[(&str, &str)]) -> World {
    let mut world = World::new(name, 1, 0.0);
    let properties: Vec<String> = properties.iter().map(|(name, value)| format!("{name:?} = {value:?}")).collect();
    world.set("kafka.bootstrap_servers", &format!("{at:?}"));
    world.set("kafka.properties", &format!("{{ {} }}", properties.join(", ")));
    world.set("telemetry.log", "\"info\"");
    world
}

fn sasl<'a>(mechanism: &'a str, password: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanisms", mechanism),
        ("sasl.username", &security().user),
        ("sasl.password", password),
    ]
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn tls(authority: &Path) -> Vec<(&str, &str)> {
    vec![("security.protocol", "SSL"), ("ssl.ca.location", text(authority))]
}

/// The story: with the right password only `check` could log in. The others copied their settings from a view for people, in
/// which every secret reads "[sanitized for safety]".
#[test]
fn with_the_right_password_or_certificate_every_command_works() {
    let _calm = calm();
    let security = security();
    let password = security.password.as_str();
    let over_tls = [
        ("security.protocol", "SASL_SSL"),
        ("sasl.mechanisms", "SCRAM-SHA-512"),
        ("sasl.username", &security.user),
        ("sasl.password", password),
        ("ssl.ca.location", text(&security.authority)),
    ];
    let mut mutual = tls(&security.authority);
    mutual.push(("ssl.certificate.location", text(&security.client.certificate)));
    mutual.push(("ssl.key.location", text(&security.client.key)));
    for (name, at, properties) in [
        ("plain", &security.sasl, sasl("PLAIN", password)),
        ("scram256", &security.sasl, sasl("SCRAM-SHA-256", password)),
        ("scram512", &security.sasl, sasl("SCRAM-SHA-512", password)),
        ("sasltls", &security.sasl_tls, over_tls.to_vec()),
        ("tls", &security.tls, tls(&security.authority)),
        ("mutual", &security.mutual_tls, mutual),
    ] {
        let mut world = world(name, at, &properties);
        for arguments in [
            ["check"].as_slice(),
            &["generate", "--count", "1000", "--bad-share", "0"],
            &["run", "--until-caught-up"],
            &["verify"],
        ] {
            let (status, said) = world.attempt(arguments, DEADLINE);
            assert_eq!(status, Some(0), "{name}, {arguments:?}:\n{said}");
            assert!(!said.contains(password), "{name}, {arguments:?} shows the password");
        }
        assert_eq!(world.eye.count("user_footprint"), 1_000, "{name}");
    }
}

/// How long a token of [`a_token_that_ends_is_renewed`] lasts.
const TOKEN_LIFE: Duration = Duration::from_secs(8);

/// The story: librdkafka asks for a new token by an event. Nobody took it from the client for questions, and the reader's client
/// ignored it. The first token is made with the client, so a login failed only after that token had expired.
#[test]
fn a_token_that_ends_is_renewed() {
    let _calm = calm();
    let security = security();
    let token = format!("principal={} lifeSeconds={}", security.user, TOKEN_LIFE.as_secs());
    let properties = [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanisms", "OAUTHBEARER"),
        ("enable.sasl.oauthbearer.unsecure.jwt", "true"),
        ("sasl.oauthbearer.config", &token),
    ];
    let mut world = world("bearer", &security.sasl, &properties);
    let (status, said) = world.attempt(&["check"], DEADLINE);
    assert_eq!(status, Some(0), "{said}");
    let mut consumer = world.consumer();
    let started = Instant::now();
    // the broker ends a connection when its token expires
    while started.elapsed() < TOKEN_LIFE * 2 {
        let source = world.send(100);
        world.wait_stored(source, STORED, &mut [&mut consumer]);
    }
    let log = consumer.log();
    assert!(!log.contains("OAUTHBEARER"), "no login failed:\n{log}");
    prove(&mut world, &mut [&mut consumer]);
    consumer.stop();
}

/// What must fail: each with librdkafka's reason and the remedy in one line, and an end.
#[test]
fn with_a_wrong_one_every_command_says_why_and_ends() {
    let _calm = calm();
    let security = security();
    let password = security.password.as_str();
    let plain = stack().kafka().unwrap().bootstrap().to_owned();
    let plaintext = vec![("security.protocol", "PLAINTEXT")];
    let over_tls_plain = [
        ("security.protocol", "SASL_SSL"),
        ("sasl.mechanisms", "PLAIN"),
        ("sasl.username", &security.user),
        ("sasl.password", password),
        ("ssl.ca.location", text(&security.authority)),
    ];
    let cases = [
        ("password", &security.sasl, sasl("PLAIN", "wrong"), "sasl.password"),
        ("scram", &security.sasl, sasl("SCRAM-SHA-512", "wrong"), "sasl.password"),
        ("mechanism", &security.sasl_tls, over_tls_plain.to_vec(), "sasl.mechanisms"),
        ("nosasl", &security.sasl, plaintext.clone(), "security.protocol"),
        ("notls", &security.tls, plaintext, "security.protocol"),
        ("overtls", &plain, tls(&security.authority), "security.protocol"),
        ("stranger", &security.tls, tls(&security.strange_authority), "ssl.ca.location"),
        ("misnamed", &security.misnamed_tls, tls(&security.authority), "a name in its certificate"),
        ("noclient", &security.mutual_tls, tls(&security.authority), "ssl.certificate.location"),
    ];
    std::thread::scope(|scope| {
        for (name, at, properties, remedy) in cases {
            scope.spawn(move || {
                let world = world(name, at, &properties);
                let commands = [
                    (["check"].as_slice(), 3),
                    (&["run", "--until-caught-up"], 1),
                    (&["verify"], 1),
                    (&["generate", "--count", "10"], 1),
                ];
                for (arguments, expected) in commands {
                    let (status, said) = world.attempt(arguments, REFUSED);
                    println!("{name}, {arguments:?}:\n{said}");
                    assert_eq!(status, Some(expected), "{name}, {arguments:?}:\n{said}");
                    let telling = said.lines().filter(|line| line.contains(remedy)).count();
                    // once in the log, once in the program's last line
                    assert!((1..=2).contains(&telling), "{name}, {arguments:?}: the remedy {telling} times:\n{said}");
                    assert!(said.lines().count() < 30, "{name}, {arguments:?}:\n{said}");
                }
            });
        }
    });
}
