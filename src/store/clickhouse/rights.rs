//! The rights that footprint lacks in ClickHouse, and the one statement that grants them. CHECK GRANT says which rights are missing. It
//! knows roles and wildcards, and needs no right on `system`.

use footprint_event::route::Route;

use super::shape::Change;

/// The rights on a route's table that `run` needs.
const RUN: [&str; 2] = ["SELECT", "INSERT"];

/// A right on a table, or on a whole database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    /// The right's name in GRANT.
    right: &'static str,
    /// `database.table` or `database.*`.
    on: String,
}

impl Right {
    /// The right to make a database.
    pub fn to_make_database(database: &str) -> Self {
        Self { right: "CREATE DATABASE", on: format!("{}.*", identifier(database)) }
    }

    /// The rights to make a scratch table in a database, to write and read it, and to drop it.
    pub fn to_probe(database: &str) -> Vec<Self> {
        let on = format!("{}.*", identifier(database));
        ["CREATE TABLE", "DROP TABLE", "SELECT", "INSERT"].map(|right| Self { right, on: on.clone() }).to_vec()
    }

    /// The rights that `run` and the changes of a route's table need.
    pub fn of_route(route: &Route, own_database: &str, changes: &[Change]) -> Vec<Self> {
        let (database, table) = route.clickhouse_names(own_database);
        let on = format!("{}.{}", identifier(database), identifier(table));
        let mut rights: Vec<Self> = Vec::new();
        for right in RUN.into_iter().chain(changes.iter().map(|change| change.right)) {
            if !rights.iter().any(|known| known.right == right) {
                rights.push(Self { right, on: on.clone() });
            }
        }
        rights
    }

    /// The statement that asks whether the user has this right.
    pub fn question(&self) -> String {
        format!("check grant {} on {}", self.right, self.on)
    }
}

/// One statement that grants all rights in `missing` to `user`. None if no right is missing.
pub fn grant(missing: &[Right], user: &str) -> Option<String> {
    let mut targets: Vec<&str> = Vec::new();
    for right in missing {
        if !targets.contains(&right.on.as_str()) {
            targets.push(&right.on);
        }
    }
    let parts: Vec<String> = targets
        .into_iter()
        .map(|on| {
            let rights = missing.iter().filter(|right| right.on == on).map(|right| right.right);
            format!("{} ON {on}", rights.collect::<Vec<_>>().join(", "))
        })
        .collect();
    (!parts.is_empty()).then(|| format!("GRANT {} TO {}", parts.join(", "), identifier(user)))
}

/// A name as SQL writes it: in backticks unless it is plain.
pub(super) fn identifier(name: &str) -> String {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
    if plain { name.to_owned() } else { format!("`{}`", name.replace('\\', "\\\\").replace('`', "\\`")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn right(right: &'static str, on: &str) -> Right {
        Right { right, on: on.into() }
    }

    #[test]
    fn one_statement_grants_all_that_is_missing() {
        assert_eq!(grant(&[], "u"), None);
        let missing = [right("SELECT", "prd.a"), right("ALTER ADD COLUMN", "prd.b"), right("INSERT", "prd.a")];
        let statement = grant(&missing, "web user").unwrap();
        assert_eq!(statement, "GRANT SELECT, INSERT ON prd.a, ALTER ADD COLUMN ON prd.b TO `web user`");
    }

    #[test]
    fn a_name_that_is_not_plain_is_quoted() {
        assert_eq!(identifier("my`db"), r"`my\`db`");
        assert_eq!(identifier("1st"), "`1st`");
        assert_eq!(Right::to_make_database("my-db").on, "`my-db`.*");
    }
}
