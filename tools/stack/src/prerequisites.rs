//! Checks, before any download, that the machine has the programs that the set-up and the servers need.

use std::env;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use crate::error::StackError;

/// One line that installs everything on Debian and Ubuntu (perl is for the build of librdkafka's OpenSSL).
pub const INSTALL_LINE: &str = "sudo apt-get install -y build-essential perl default-jdk-headless maven npm xz-utils";

const JAVA_MAJOR_MIN: u32 = 17;

/// Fails on a platform for which there are no packages of the servers.
pub(crate) fn check_platform() -> Result<(), StackError> {
    match (env::consts::OS, env::consts::ARCH) {
        ("linux", "x86_64") => Ok(()),
        (os, arch) => Err(StackError::Platform { os, arch }),
    }
}

/// Fails unless every one of `programs` is on the path. `java` must also be new enough. Names all that is missing at once.
pub(crate) fn check(programs: &[&str]) -> Result<(), StackError> {
    let mut missing = Vec::new();
    for program in programs {
        if find(program).is_none() {
            missing.push((*program).to_owned());
        } else if *program == "java" {
            missing.extend(old_java());
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(StackError::Prerequisites { missing, install: INSTALL_LINE }) }
}

/// Where `program` is on the path.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|directory| directory.join(program)).find(|file| {
        file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    })
}

fn old_java() -> Option<String> {
    let output = Command::new("java").arg("-version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stderr);
    match java_major(&text) {
        Some(major) if major >= JAVA_MAJOR_MIN => None,
        Some(major) => Some(format!("java {JAVA_MAJOR_MIN} or later (found {major})")),
        None => Some(format!("java {JAVA_MAJOR_MIN} or later (java -version says nothing known)")),
    }
}

/// The major version in `openjdk version "17.0.15" 2025-04-15`; Java 8 called itself 1.8.
fn java_major(text: &str) -> Option<u32> {
    let version = text.split('"').nth(1)?;
    let mut numbers = version.split(|character: char| !character.is_ascii_digit());
    match numbers.next()?.parse().ok()? {
        1 => numbers.next()?.parse().ok(),
        major => Some(major),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_java() {
        assert_eq!(java_major("openjdk version \"17.0.15\" 2025-04-15\n"), Some(17));
        assert_eq!(java_major("java version \"1.8.0_292\"\n"), Some(8));
        assert_eq!(java_major("openjdk version \"25-ea\" 2025-09-16\n"), Some(25));
        assert_eq!(java_major("no such thing"), None);
    }

    #[test]
    fn all_that_is_missing_is_named_at_once() {
        let error = check(&["sh", "no-such-program-a", "no-such-program-b"]).expect_err("two are missing");
        let text = error.to_string();
        assert!(text.contains("no-such-program-a, no-such-program-b") && text.contains(INSTALL_LINE), "{text}");
        assert!(!text.contains("sh,"), "{text}");
    }
}
