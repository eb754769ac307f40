//! Passwords and identifiers from the kernel's random numbers.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::error::StackError;

/// `LENGTH` random bytes.
pub(crate) fn random<const LENGTH: usize>() -> Result<[u8; LENGTH], StackError> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0; LENGTH];
    File::open(path).and_then(|mut file| file.read_exact(&mut bytes)).map_err(StackError::file("read", path))?;
    Ok(bytes)
}

/// A password of 32 hexadecimal digits: safe in SQL text, XML, URLs and shells alike.
pub(crate) fn password() -> Result<String, StackError> {
    Ok(random::<16>()?.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The password in `path`. If there is none, it is made and written there, readable only by its owner.
pub(crate) fn kept(path: &Path) -> Result<String, StackError> {
    if let Ok(password) = fs::read_to_string(path) {
        return Ok(password);
    }
    let password = password()?;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options
        .open(path)
        .and_then(|mut file| file.write_all(password.as_bytes()))
        .map_err(StackError::file("write", path))?;
    Ok(password)
}
