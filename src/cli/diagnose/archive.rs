//! The archive: files in one folder, compressed, readable by its owner alone. Before that, secrets are taken out of every text.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

/// In place of a secret.
const HIDDEN: &str = "(hidden)";
/// A shorter secret would be found in every text. No part contains one by itself; this is only a second lock.
const SECRET_BYTES_MIN: usize = 4;
/// A part longer than this is cut.
const PART_BYTES_MAX: usize = 8 << 20;

/// One file of the archive.
pub(super) struct Part {
    name: &'static str,
    pub(super) text: String,
    /// Why it is not whole.
    why: Option<String>,
}

impl Part {
    pub(super) fn whole(name: &'static str, text: String) -> Self {
        Self { name, text, why: None }
    }

    pub(super) fn failed(name: &'static str, why: String) -> Self {
        Self { name, text: format!("not available: {why}\n"), why: Some(why) }
    }

    /// A line of the summary.
    pub(super) fn line(&self) -> String {
        match &self.why {
            None => format!("{:<18}{} bytes", self.name, self.text.len().min(PART_BYTES_MAX)),
            Some(_) => format!("{:<18}{}", self.name, self.text.trim_end()),
        }
    }
}

/// Hides the secrets in a text, also as JSON spells them.
pub(super) fn hide(text: &mut String, secrets: &[&str]) {
    let mut spellings: Vec<String> = Vec::new();
    for secret in secrets.iter().filter(|secret| secret.len() >= SECRET_BYTES_MIN) {
        spellings.push((*secret).to_owned());
        let json = serde_json::Value::from(*secret).to_string();
        spellings.push(json.trim_matches('"').to_owned());
    }
    // one secret may begin with another
    spellings.sort_by_key(|spelling| std::cmp::Reverse(spelling.len()));
    for spelling in spellings {
        if text.contains(&spelling) {
            *text = text.replace(&spelling, HIDDEN);
        }
    }
}

/// Writes the archive to a new file. If that fails, no file is left.
///
/// # Errors
/// The file exists, or cannot be written.
pub(super) fn write(path: &Path, folder: &str, time_s: u64, parts: &[Part]) -> io::Result<()> {
    let bytes = packed(folder, time_s, parts)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = file.write_all(&bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        // the first error is reported, and half an archive helps nobody
        let _ = fs::remove_file(path);
    }
    written
}

fn packed(folder: &str, time_s: u64, parts: &[Part]) -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    for Part { name, text, .. } in parts {
        let bytes = &text.as_bytes()[..text.len().min(PART_BYTES_MAX)];
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(time_s);
        archive.append_data(&mut header, format!("{folder}/{name}"), bytes)?;
    }
    archive.into_inner()?.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_also_in_json() {
        let mut text = r#"a=pass"word b=pass\"word c=pass"word2 d=abc"#.to_owned();
        hide(&mut text, &["pass\"word", "pass\"word2", "abc", ""]);
        assert_eq!(text, "a=(hidden) b=(hidden) c=(hidden) d=abc");
    }

    #[test]
    fn an_existing_file_is_not_touched() {
        let path = std::env::temp_dir().join(format!("footprint-archive-{}", std::process::id()));
        fs::write(&path, "mine").unwrap();
        let error = write(&path, "folder", 0, &[Part::whole("a.txt", "a".into())]).unwrap_err();
        assert_eq!((error.kind(), fs::read_to_string(&path).unwrap().as_str()), (io::ErrorKind::AlreadyExists, "mine"));
        fs::remove_file(&path).unwrap();
    }
}
