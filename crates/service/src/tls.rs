//! TLS of the clients of both databases: which authorities are trusted, which certificate is shown, and the meaning of a failed
//! handshake. TLS 1.2 and 1.3. The server's name is always verified, and nothing here can make a connection plain.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};

/// The certificate files of one client. An empty path: none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Files<'a> {
    /// The configuration's section, `postgres` or `clickhouse`.
    pub section: &'static str,
    /// Authorities. Without it, the public ones.
    pub ca_file: &'a Path,
    /// The client's own certificate, and those between it and its authority.
    pub cert_file: &'a Path,
    /// Its key.
    pub key_file: &'a Path,
}

/// Why a file cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{section}.{setting}: {}", path.display())]
pub struct FileError {
    section: &'static str,
    setting: &'static str,
    path: PathBuf,
    source: Arc<FileFault>,
}

/// What is wrong with a file, without what is in it.
#[derive(Debug, thiserror::Error)]
enum FileFault {
    #[error("it cannot be read")]
    Unreadable(#[source] io::Error),
    #[error("there is no PEM {0} in it")]
    Nothing(&'static str),
    #[error("it is no PEM file of a {0}")]
    NoPem(&'static str),
    #[error("no authority's certificate")]
    NoAuthority(#[source] rustls::Error),
    #[error("the key does not belong to the certificate in {}", .0.display())]
    OtherKey(PathBuf),
    #[error("it cannot be used with the certificate in {}", .certificate.display())]
    Unusable { certificate: PathBuf, source: rustls::Error },
    #[error("tls cannot be set up")]
    Setup(#[source] rustls::Error),
}

impl FileError {
    /// The setting that names the file, without its section.
    pub(crate) fn setting(&self) -> &'static str {
        self.setting
    }
}

/// The authorities to trust and the certificate to show.
///
/// # Errors
/// A file is missing, does not hold what it should, or the key does not belong to the certificate.
pub(crate) fn client_config(files: Files<'_>) -> Result<ClientConfig, FileError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| files.error("ca_file", files.ca_file, FileFault::Setup(error)))?
        .with_root_certificates(files.authorities()?);
    if files.cert_file.as_os_str().is_empty() {
        return Ok(builder.with_no_client_auth());
    }
    let chain = files.certificates("cert_file", files.cert_file)?;
    let key = PrivateKeyDer::from_pem_file(files.key_file)
        .map_err(|error| files.error("key_file", files.key_file, pem_fault(error, "private key")))?;
    builder.with_client_auth_cert(chain, key).map_err(|error| {
        let certificate = files.cert_file.to_owned();
        let fault = match error {
            rustls::Error::InconsistentKeys(_) => FileFault::OtherKey(certificate),
            source => FileFault::Unusable { certificate, source },
        };
        files.error("key_file", files.key_file, fault)
    })
}

impl Files<'_> {
    fn error(&self, setting: &'static str, path: &Path, source: FileFault) -> FileError {
        FileError { section: self.section, setting, path: path.to_owned(), source: Arc::new(source) }
    }

    fn certificates(&self, setting: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
        let broken = |error| self.error(setting, path, pem_fault(error, "certificate"));
        let found: Vec<_> =
            CertificateDer::pem_file_iter(path).map_err(broken)?.collect::<Result<_, _>>().map_err(broken)?;
        if found.is_empty() {
            return Err(self.error(setting, path, FileFault::Nothing("certificate")));
        }
        Ok(found)
    }

    fn authorities(&self) -> Result<RootCertStore, FileError> {
        let mut roots = RootCertStore::empty();
        if self.ca_file.as_os_str().is_empty() {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            return Ok(roots);
        }
        for certificate in self.certificates("ca_file", self.ca_file)? {
            let unusable = |error| self.error("ca_file", self.ca_file, FileFault::NoAuthority(error));
            roots.add(certificate).map_err(unusable)?;
        }
        Ok(roots)
    }
}

fn pem_fault(error: rustls::pki_types::pem::Error, kind: &'static str) -> FileFault {
    match error {
        rustls::pki_types::pem::Error::Io(error) => FileFault::Unreadable(error),
        rustls::pki_types::pem::Error::NoItemsFound => FileFault::Nothing(kind),
        _ => FileFault::NoPem(kind),
    }
}

/// What to do about a failed handshake that will fail again. None: the error has nothing to do with TLS, or may pass.
pub fn remedy(error: &(dyn Error + 'static), section: &str) -> Option<String> {
    match find(error)? {
        // a bad signature: an authority of the same name with another key, such as one that was created again
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            Some(format!(
                "the server's certificate comes from an authority that is not trusted here: set {section}.ca_file to a PEM file with \
             that authority's certificate"
            ))
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => Some(format!("the server's certificate is for another name: set {section}.host to a name in it")),
        rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            Some("the server's certificate has expired: renew it, or correct this machine's clock".into())
        }
        rustls::Error::InvalidCertificate(_) => {
            Some("the server's certificate is not valid: it must show another".into())
        }
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            Some(format!("the server asks for a client certificate: set {section}.cert_file and {section}.key_file"))
        }
        rustls::Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError,
        ) => Some(format!(
            "the server does not accept the client's certificate: does {section}.cert_file come from an authority that \
             it trusts, and has it not expired?"
        )),
        rustls::Error::AlertReceived(
            AlertDescription::HandshakeFailure
            | AlertDescription::ProtocolVersion
            | AlertDescription::InsufficientSecurity
            | AlertDescription::UnrecognisedName
            | AlertDescription::NoApplicationProtocol,
        )
        | rustls::Error::PeerIncompatible(_) => Some(format!(
            "the server and footprint have no encryption method in common: TLS 1.2 or 1.3 is needed; it may also ask for a \
             client certificate ({section}.cert_file and {section}.key_file)"
        )),
        rustls::Error::InvalidMessage(_) => Some(format!(
            "what answers there does not speak TLS: look at {section}.port, and at the server's own settings"
        )),
        _ => None,
    }
}

/// The TLS error among an error's causes. An [`io::Error`] holds its cause inside, and `source` does not return it.
fn find<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        let inside: Option<&'a (dyn Error + 'static)> = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            .map(|inside| -> &'a (dyn Error + 'static) { inside });
        next = inside.or_else(|| error.source());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::printed_once;

    fn files<'a>(ca_file: &'a Path, cert_file: &'a Path, key_file: &'a Path) -> Files<'a> {
        Files { section: "postgres", ca_file, cert_file, key_file }
    }

    #[test]
    fn a_file_is_named_with_what_is_wrong_and_never_with_what_is_in_it() {
        let none = Path::new("");
        assert!(client_config(files(none, none, none)).is_ok());
        let missing = Path::new("/nowhere/ca.pem");
        let error = printed_once(&client_config(files(missing, none, none)).unwrap_err());
        assert!(error.starts_with("postgres.ca_file: /nowhere/ca.pem: it cannot be read: "), "{error}");
        let text = std::env::temp_dir().join(format!("footprint-tls-{}.pem", std::process::id()));
        std::fs::write(&text, "password = secret\n").unwrap();
        let error = printed_once(&client_config(files(&text, none, none)).unwrap_err());
        std::fs::remove_file(&text).unwrap();
        assert!(error.ends_with("there is no PEM certificate in it") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn an_error_of_tls_is_found_inside_others_and_only_a_lasting_one_has_a_remedy() {
        let inside = rustls::Error::AlertReceived(AlertDescription::CertificateRequired);
        let error = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, inside));
        assert!(remedy(&error, "clickhouse").unwrap().contains("clickhouse.cert_file"));
        assert!(remedy(&io::Error::from(io::ErrorKind::ConnectionReset), "clickhouse").is_none());
        let busy = io::Error::other(rustls::Error::AlertReceived(AlertDescription::InternalError));
        assert!(remedy(&busy, "clickhouse").is_none());
    }
}
