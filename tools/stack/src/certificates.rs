//! Certificates for servers on this machine: a private authority and what it signs. They are made again each time, and only those
//! trust them who are told to. Also certificates that must be refused: another name, another authority, an expired one.
//!
//! All are PEM text; keys are PKCS #8, which Kafka, PostgreSQL, OpenSSL and rustls all read.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

use crate::error::StackError;
use crate::spawner;

/// The names that the servers are reached by.
const SERVER_NAMES: [&str; 2] = ["localhost", "127.0.0.1"];
/// A name that none of them has.
const OTHER_NAME: &str = "elsewhere.example";

/// A certificate and its key, as PEM text.
#[derive(Clone)]
pub struct Identity {
    certificate: String,
    key: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// Where [`Identity::save`] has written a certificate and its key.
#[derive(Clone, Debug)]
pub struct IdentityFiles {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Identity {
    /// The certificate.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Its key, PKCS #8.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Writes `NAME.pem` and `NAME.key` into `directory`, the key readable by the account that the servers run as alone.
    pub fn save(&self, directory: &Path, name: &str) -> Result<IdentityFiles, StackError> {
        let certificate = directory.join(format!("{name}.pem"));
        let key = directory.join(format!("{name}.key"));
        fs::write(&certificate, &self.certificate).map_err(StackError::file("write", &certificate))?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options
            .open(&key)
            .and_then(|mut file| file.write_all(self.key.as_bytes()))
            .map_err(StackError::file("write", &key))?;
        spawner::give_to_server_user(&key).map_err(StackError::file("give to the server's user", &key))?;
        Ok(IdentityFiles { certificate, key })
    }
}

/// An authority, and what it has signed.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The authority's own certificate: which clients and servers must trust.
    pub authority: String,
    /// A server's, for `localhost` and `127.0.0.1`.
    pub server: Identity,
    /// A server's, for another name than those.
    pub misnamed_server: Identity,
    /// A server's, for the right names, of a time that is over.
    pub expired_server: Identity,
    /// A client's, whose common name is the one given to [`Certificates::new`].
    pub client: Identity,
}

impl Certificates {
    /// Makes a new authority and everything that it signs. The results of two calls do not trust each other.
    pub fn new(client_name: &str) -> Result<Self, StackError> {
        let authority = Authority::new()?;
        Ok(Self {
            authority: authority.certificate.clone(),
            server: authority.sign(server(&SERVER_NAMES)?)?,
            misnamed_server: authority.sign(server(&[OTHER_NAME])?)?,
            expired_server: authority.sign(expired(server(&SERVER_NAMES)?))?,
            client: authority.sign(client(client_name)?)?,
        })
    }
}

struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Result<Self, StackError> {
        let mut params = named("a private authority of footprint's tests", &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(StackError::certificate)?;
        let certificate = params.self_signed(&key).map_err(StackError::certificate)?.pem();
        Ok(Self { certificate, issuer: Issuer::new(params, key) })
    }

    fn sign(&self, mut params: CertificateParams) -> Result<Identity, StackError> {
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().map_err(StackError::certificate)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(StackError::certificate)?;
        Ok(Identity { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

fn named(name: &str, reached_by: &[&str]) -> Result<CertificateParams, StackError> {
    let names: Vec<String> = reached_by.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).map_err(StackError::certificate)?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2120, 1, 1);
    Ok(params)
}

fn server(names: &[&str]) -> Result<CertificateParams, StackError> {
    let mut params = named(names.first().copied().unwrap_or(OTHER_NAME), names)?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

fn client(name: &str) -> Result<CertificateParams, StackError> {
    let mut params = named(name, &[])?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

fn expired(mut params: CertificateParams) -> CertificateParams {
    params.not_after = date_time_ymd(2021, 1, 1);
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_authority_is_a_stranger_to_the_others() {
        let [one, other] = [(); 2].map(|()| Certificates::new("footprint").unwrap());
        assert_ne!(one.authority, other.authority);
        for identity in [&one.server, &one.misnamed_server, &one.expired_server, &one.client] {
            assert!(identity.certificate().starts_with("-----BEGIN CERTIFICATE-----"));
            assert!(identity.key().starts_with("-----BEGIN PRIVATE KEY-----"));
        }
        assert!(!format!("{one:?}").contains("PRIVATE"), "a key is never shown");
    }
}
