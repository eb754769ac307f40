//! A password: a text that no log shows. It comes from the configuration or from a file, as container platforms and systemd
//! provide them. An error names the file, never its content.

use std::fmt;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// A larger file holds no password.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// A text that no log shows.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "(empty)" } else { "(hidden)" })
    }
}

/// Why there is no password.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretFileError {
    /// One of them is a mistake, and footprint cannot know which.
    #[error("{0}.password and {0}.password_file are both set; take one out")]
    Both(&'static str),
    #[error("{section}.password_file: {}", path.display())]
    File { section: &'static str, path: PathBuf, source: FileFault },
}

/// What is wrong with a password's file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileFault {
    #[error("it cannot be read")]
    Unreadable(#[source] io::Error),
    #[error("it is larger than {SECRET_BYTES_MAX} bytes: is it the right file?")]
    TooLarge,
    #[error("it is not UTF-8")]
    NotText,
    #[error("it is empty")]
    Empty,
}

/// Reads `password` from `file`, if one is named. One line end at the end of the file is not part of the password.
///
/// # Errors
/// Both are given, or the file is missing, unreadable, too large, empty or not UTF-8.
pub(crate) fn fill(section: &'static str, password: &mut Secret, file: &Path) -> Result<(), SecretFileError> {
    if file.as_os_str().is_empty() {
        return Ok(());
    }
    if !password.is_empty() {
        return Err(SecretFileError::Both(section));
    }
    let broken = |source| SecretFileError::File { section, path: file.to_owned(), source };
    let mut bytes = Vec::new();
    std::fs::File::open(file)
        .and_then(|open| open.take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| broken(FileFault::Unreadable(error)))?;
    if bytes.len() as u64 > SECRET_BYTES_MAX {
        return Err(broken(FileFault::TooLarge));
    }
    let mut text = String::from_utf8(bytes).map_err(|_| broken(FileFault::NotText))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() {
        return Err(broken(FileFault::Empty));
    }
    *password = text.into();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::printed_once;

    fn read(bytes: &[u8]) -> Result<String, String> {
        let name = format!("footprint-secret-{}-{:x}", std::process::id(), rand::random::<u64>());
        let file = std::env::temp_dir().join(name);
        std::fs::write(&file, bytes).unwrap();
        let mut password = Secret::default();
        let filled = fill("postgres", &mut password, &file);
        std::fs::remove_file(&file).unwrap();
        filled.map(|()| password.reveal().to_owned()).map_err(|error| printed_once(&error))
    }

    #[test]
    fn one_line_end_is_cut_and_nothing_else() {
        for (bytes, password) in [
            ("pa$word", "pa$word"),
            ("pa$word\n", "pa$word"),
            ("pa$word\r\n", "pa$word"),
            ("pa$word\n\n", "pa$word\n"),
            (" two words ", " two words "),
        ] {
            assert_eq!(read(bytes.as_bytes()).unwrap(), password);
        }
    }

    #[test]
    fn what_is_wrong_names_the_file_and_not_its_content() {
        for (bytes, why) in [(b"p\xe4ss".as_slice(), "it is not UTF-8"), (b"\n", "it is empty"), (b"", "it is empty")] {
            let error = read(bytes).unwrap_err();
            assert!(error.starts_with("postgres.password_file: /") && error.ends_with(why), "{error}");
            assert!(!error.contains("p\u{e4}ss"), "{error}");
        }
        let mut password = Secret::from("known".to_owned());
        let error = fill("clickhouse", &mut password, Path::new("/nowhere")).unwrap_err().to_string();
        assert_eq!(error, "clickhouse.password and clickhouse.password_file are both set; take one out");
        let error = printed_once(&fill("clickhouse", &mut Secret::default(), Path::new("/nowhere")).unwrap_err());
        assert!(error.starts_with("clickhouse.password_file: /nowhere: it cannot be read: "), "{error}");
    }
}
