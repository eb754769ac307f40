//! Listeners of the broker that only accept clients with a proof of identity: passwords (SASL) with and without TLS, certificates
//! of a private authority, and one listener whose certificate has another name.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::cache::Cache;
use crate::certificates::{Certificates, Identity, IdentityFiles};
use crate::error::StackError;
use crate::ports::Port;
use crate::secret;

/// The user that SASL knows, and the name in the client's certificate.
const USER: &str = "footprint";

/// Who has logged in may do everything with a topic, until it has an access control list. Who has not may always.
const ACCESS_CONTROL: &str = "\
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
super.users=User:ANONYMOUS
";

/// How to reach the secured listeners, and the credentials.
#[derive(Debug)]
pub struct KafkaSecurity {
    /// `host:port` of SASL_PLAINTEXT: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, and OAUTHBEARER with unsigned tokens.
    pub sasl: String,
    /// `host:port` of SASL_SSL: only SCRAM-SHA-512.
    pub sasl_tls: String,
    /// `host:port` of SSL; clients need no certificate.
    pub tls: String,
    /// `host:port` of SSL. Clients need a certificate of the authority.
    pub mutual_tls: String,
    /// `host:port` of SSL, with a certificate of the authority for another host.
    pub misnamed_tls: String,
    /// The user of both SASL listeners.
    pub user: String,
    /// The user's password.
    pub password: String,
    /// The authority's certificate.
    pub authority: PathBuf,
    /// The certificate of an authority that has signed nothing here.
    pub strange_authority: PathBuf,
    /// A client's certificate, signed by the authority.
    pub client: IdentityFiles,
    properties: String,
    _ports: Vec<Port>,
}

/// A listener: its name in the broker's configuration, its protocol, and its other properties.
struct Listener<'a> {
    name: &'static str,
    protocol: &'static str,
    mechanisms: &'static [&'static str],
    keystore: Option<&'a Path>,
    needs_client: bool,
}

impl KafkaSecurity {
    /// Makes the certificates and chooses the ports. If `directory` has certificates and a password already, they are kept.
    pub(crate) fn prepare(cache: &Cache, directory: &Path) -> Result<Self, StackError> {
        let certificates = Certificates::new(USER)?;
        let stranger = Certificates::new(USER)?;
        let password = secret::kept(&directory.join("sasl.password"))?;
        let write = |name: &str, text: &str| {
            let path = directory.join(name);
            fs::write(&path, text).map_err(StackError::file("write", &path)).map(|()| path)
        };
        let authority = write("authority.pem", &certificates.authority)?;
        let strange_authority = write("strange-authority.pem", &stranger.authority)?;
        // Kafka reads a key and its certificate from one file
        let keystore = |name: &str, of: &Identity| write(name, &format!("{}{}", of.key(), of.certificate()));
        let server = keystore("server.pem", &certificates.server)?;
        let misnamed = keystore("misnamed-server.pem", &certificates.misnamed_server)?;
        let client = certificates.client.save(directory, "client")?;

        let all = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"].as_slice();
        let listener = |name, protocol, mechanisms, keystore, needs_client| Listener {
            name,
            protocol,
            mechanisms,
            keystore,
            needs_client,
        };
        let listeners = [
            listener("SASL", "SASL_PLAINTEXT", all, None, false),
            listener("SASLTLS", "SASL_SSL", &all[2..3], Some(server.as_path()), false),
            listener("TLS", "SSL", &[], Some(server.as_path()), false),
            listener("MUTUAL", "SSL", &[], Some(server.as_path()), true),
            listener("MISNAMED", "SSL", &[], Some(misnamed.as_path()), false),
        ];
        let ports = listeners.iter().map(|_| Port::lease(cache)).collect::<Result<Vec<_>, _>>()?;
        let mut properties = ACCESS_CONTROL.to_owned();
        for listener in &listeners {
            write_properties(&mut properties, listener, &authority, &password);
        }
        let at = |index: usize| format!("127.0.0.1:{}", ports.get(index).map_or(0, Port::number));
        Ok(Self {
            sasl: at(0),
            sasl_tls: at(1),
            tls: at(2),
            mutual_tls: at(3),
            misnamed_tls: at(4),
            user: USER.to_owned(),
            password,
            authority,
            strange_authority,
            client,
            properties,
            _ports: ports,
        })
    }

    /// The text after the plain listeners in `listeners` and `advertised.listeners`.
    pub(crate) fn listeners(&self) -> String {
        self.named().iter().map(|(name, _, at)| format!(",{name}://{at}")).collect()
    }

    /// The text after the plain listeners in `listener.security.protocol.map`.
    pub(crate) fn protocols(&self) -> String {
        self.named().iter().map(|(name, protocol, _)| format!(",{name}:{protocol}")).collect()
    }

    /// The listeners' own properties.
    pub(crate) fn properties(&self) -> &str {
        &self.properties
    }

    /// Arguments of the storage tool. SCRAM's users are part of the metadata, and the first ones are created with it.
    pub(crate) fn format_arguments(&self) -> Vec<String> {
        let user = |mechanism| format!("{mechanism}=[name={},password={}]", self.user, self.password);
        ["SCRAM-SHA-256", "SCRAM-SHA-512"]
            .into_iter()
            .flat_map(|mechanism| ["--add-scram".to_owned(), user(mechanism)])
            .collect()
    }

    fn named(&self) -> [(&'static str, &'static str, &str); 5] {
        [
            ("SASL", "SASL_PLAINTEXT", &self.sasl),
            ("SASLTLS", "SASL_SSL", &self.sasl_tls),
            ("TLS", "SSL", &self.tls),
            ("MUTUAL", "SSL", &self.mutual_tls),
            ("MISNAMED", "SSL", &self.misnamed_tls),
        ]
    }
}

/// Writing to a `String` does not fail.
fn write_properties(to: &mut String, listener: &Listener<'_>, authority: &Path, password: &str) {
    let prefix = format!("listener.name.{}", listener.name.to_lowercase());
    if let Some(keystore) = listener.keystore {
        let _ = writeln!(
            to,
            "{prefix}.ssl.keystore.type=PEM\n{prefix}.ssl.keystore.location={}\n{prefix}.ssl.truststore.type=PEM\n\
             {prefix}.ssl.truststore.location={}\n{prefix}.ssl.client.auth={}",
            keystore.display(),
            authority.display(),
            if listener.needs_client { "required" } else { "none" },
        );
    }
    if listener.protocol.starts_with("SASL") {
        let _ = writeln!(to, "{prefix}.sasl.enabled.mechanisms={}", listener.mechanisms.join(","));
    }
    for mechanism in listener.mechanisms {
        let module = match *mechanism {
            "PLAIN" => format!("plain.PlainLoginModule required user_{USER}=\"{password}\""),
            "OAUTHBEARER" => {
                format!("oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"{USER}\"")
            }
            _ => "scram.ScramLoginModule required".to_owned(),
        };
        let mechanism = mechanism.to_lowercase();
        let _ = writeln!(to, "{prefix}.{mechanism}.sasl.jaas.config=org.apache.kafka.common.security.{module};");
    }
}
