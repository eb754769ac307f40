//! Names for SQL, XML and file paths: checked once, then used without quoting.

use crate::error::StackError;

/// PostgreSQL silently cuts longer names.
const LENGTH_MAX: usize = 63;

/// Refuses every name with characters other than letters, digits and underscores.
pub(crate) fn check(name: &str) -> Result<&str, StackError> {
    let starts_well = name.starts_with(|character: char| character.is_ascii_alphabetic() || character == '_');
    let usual = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if starts_well && usual && name.len() <= LENGTH_MAX {
        Ok(name)
    } else {
        Err(StackError::Name { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn only_plain_names_pass() {
        assert!(check("prd").is_ok() && check("test_1").is_ok());
        for bad in ["", "1a", "a-b", "a\"b", "a;b", "ä", &"a".repeat(64)] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }
}
