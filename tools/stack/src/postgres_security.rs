//! Makes a PostgreSQL ask for encryption and certificates. It changes the running server, for separate roles. All other roles log
//! in as before.

use std::fs;
use std::time::Duration;

use crate::certificates::Identity;
use crate::deadline::Deadline;
use crate::error::StackError;
use crate::name;
use crate::postgres::Postgres;

/// How long the server may take to read its configuration again.
const RELOAD_LIMIT: Duration = Duration::from_secs(30);

impl Postgres {
    /// From now on the server offers TLS as `server`, and trusts clients with a certificate of `authority`.
    ///
    /// # Errors
    /// A file cannot be written, or the server refuses.
    pub fn speak_tls(&self, server: &Identity, authority: &str) -> Result<(), StackError> {
        let files = server.save(self.directory(), "server")?;
        let authorities = self.directory().join("client-authorities.pem");
        fs::write(&authorities, authority).map_err(StackError::file("write", &authorities))?;
        for (setting, value) in [
            ("ssl_cert_file", files.certificate.display().to_string()),
            ("ssl_key_file", files.key.display().to_string()),
            ("ssl_ca_file", authorities.display().to_string()),
            ("ssl", "on".to_owned()),
        ] {
            self.execute("postgres", &format!("alter system set {setting} = '{value}'"))?;
        }
        self.reload()
    }

    /// From now on `role` can log in only with TLS, and with `certified` only with a certificate in its name.
    ///
    /// # Errors
    /// A file cannot be written, or the server refuses.
    pub fn demand_tls(&self, role: &str, certified: bool) -> Result<(), StackError> {
        let (role, path) = (name::check(role)?, self.directory().join("data/pg_hba.conf"));
        let rules = fs::read_to_string(&path).map_err(StackError::file("read", &path))?;
        let certificate = if certified { " clientcert=verify-full" } else { "" };
        let rules = format!(
            "hostssl all {role} 127.0.0.1/32 scram-sha-256{certificate}\nhost all {role} 127.0.0.1/32 reject\n{rules}"
        );
        fs::write(&path, rules).map_err(StackError::file("write", &path))?;
        self.reload()
    }

    /// Makes the server read its configuration again, and waits until new connections use it.
    fn reload(&self) -> Result<(), StackError> {
        let loaded = || self.query("postgres", "select pg_conf_load_time()::text");
        let before = loaded()?;
        self.execute("postgres", "select pg_reload_conf()")?;
        Deadline::after(RELOAD_LIMIT)
            .poll("PostgreSQL reads its configuration", || Ok((loaded()? != before).then_some(())))
    }
}
