//! ClickHouse's users and what each may do. The embedded server has no writable store of users (`CREATE USER` and
//! `GRANT` answer ACCESS_STORAGE_FOR_INSERTION_NOT_FOUND), so they are written to users.xml before it starts.

use crate::error::StackError;
use crate::name;

/// A ClickHouse user with the rights footprint needs on one database, or on all whose names start alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClickHouseUser {
    /// The user's name.
    pub name: String,
    /// The password, in clear.
    pub password: String,
    /// `prd` means that database, `test_*` all databases whose names start with `test_`.
    pub databases: String,
}

/// All that footprint does in its database, and no more: no DROP, no TRUNCATE, no UPDATE or DELETE.
const DATABASE_RIGHTS: &str = "SHOW, SELECT, INSERT, CREATE TABLE, \
    ALTER ADD COLUMN, ALTER MODIFY COLUMN, ALTER ADD INDEX, ALTER SETTINGS";

/// The rights outside it. A user who can read system.processes may KILL its own queries without the right to kill
/// those of others, which ClickHouse grants only for the whole server.
const OTHER_RIGHTS: [&str; 2] = ["GRANT TABLE ENGINE ON MergeTree", "GRANT SELECT ON system.processes"];

/// The rights of the session that keeps the listeners open. It needs no password, and any loopback client may be it
/// (ClickHouse takes every 127.0.0.0/8 and ::1 for "local"), so it may do next to nothing.
const KEEPER_RIGHTS: [&str; 3] =
    ["GRANT SYSTEM LISTEN ON *.*", "GRANT CREATE TEMPORARY TABLE ON *.*", "GRANT READ ON FILE"];

/// The whole of users.xml: the keeper, the administrator, and `users`.
pub(crate) fn users_xml(admin: &str, admin_password: &str, users: &[ClickHouseUser]) -> Result<String, StackError> {
    let mut all = user_xml("default", "<no_password/>", &grants_xml(KEEPER_RIGHTS));
    let everything = "<access_management>1</access_management>";
    all += &user_xml(admin, &password_xml(admin_password), everything);
    for user in users {
        let databases = user.databases.strip_suffix('*').unwrap_or(&user.databases);
        name::check(databases)?;
        let own = format!("GRANT {DATABASE_RIGHTS} ON {}.*", user.databases);
        let grants = grants_xml([own.as_str()].into_iter().chain(OTHER_RIGHTS));
        all += &user_xml(name::check(&user.name)?, &password_xml(&user.password), &grants);
    }
    Ok(format!(
        "<clickhouse>\n<profiles><default/></profiles>\n<quotas><default/></quotas>\n<users>\n{all}</users>\n</clickhouse>\n"
    ))
}

fn user_xml(name: &str, password: &str, rights: &str) -> String {
    format!(
        "<{name}>{password}<networks><ip>127.0.0.1</ip></networks><profile>default</profile>\
         <quota>default</quota>{rights}</{name}>\n"
    )
}

fn password_xml(password: &str) -> String {
    let escaped = password.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!("<password>{escaped}</password>")
}

fn grants_xml<'a>(grants: impl IntoIterator<Item = &'a str>) -> String {
    let queries: String = grants.into_iter().map(|grant| format!("<query>{grant}</query>")).collect();
    format!("<grants>{queries}</grants>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_gets_its_databases_and_no_others() {
        let user = |databases: &str| ClickHouseUser {
            name: "footprint".into(),
            password: "a<b".into(),
            databases: databases.into(),
        };
        let text = users_xml("admin", "x", &[user("test_*")]).expect("a good user");
        assert!(text.contains("ALTER SETTINGS ON test_*.*</query>") && text.contains("a&lt;b"), "{text}");
        for bad in ["*", "", "a.*", "a`b", "te*st"] {
            assert!(users_xml("admin", "x", &[user(bad)]).is_err(), "{bad:?}");
        }
    }
}
