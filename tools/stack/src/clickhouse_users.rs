//! ClickHouse's users and their rights. The embedded server has no writable store of users (`CREATE USER` and `GRANT` answer
//! ACCESS_STORAGE_FOR_INSERTION_NOT_FOUND), so they are written to users.xml before it starts.

use crate::error::StackError;
use crate::name;

/// A ClickHouse user with the rights that the first user's site grants, on one database or on all whose names begin alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClickHouseUser {
    /// The user's name.
    pub name: String,
    /// The password, in clear.
    pub password: String,
    /// `prd` means that database. `test_*` means all databases whose names begin with `test_`.
    pub databases: String,
    /// Additional rights on them, separated by commas. Empty: none.
    pub also: &'static str,
}

/// Exactly the rights that the first user's site grants on its database, and nothing outside it. footprint must work with them.
const SITE_RIGHTS: &str = "SELECT, INSERT, CREATE, ALTER UPDATE, ALTER DELETE, TRUNCATE, DROP";

/// The rights that `footprint migrate` asks for, word for word, before it adopts an old table with three columns.
pub const ADOPTION_RIGHTS: &str = "ALTER ADD COLUMN, ALTER ADD INDEX, ALTER MODIFY SETTING";

/// The rights of the session that keeps the listeners open. It needs no password, and any loopback client may use it (ClickHouse
/// takes every 127.0.0.0/8 and ::1 for "local"), so it has almost no rights.
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
        let rights = [SITE_RIGHTS, user.also].into_iter().filter(|rights| !rights.is_empty());
        let grants: Vec<String> = rights.map(|rights| format!("GRANT {rights} ON {}.*", user.databases)).collect();
        let grants = grants_xml(grants.iter().map(String::as_str));
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
            also: ADOPTION_RIGHTS,
        };
        let text = users_xml("admin", "x", &[user("test_*")]).expect("a good user");
        assert!(text.contains("TRUNCATE, DROP ON test_*.*</query>") && text.contains("a&lt;b"), "{text}");
        assert!(text.contains("<query>GRANT ALTER ADD COLUMN, "), "{text}");
        for bad in ["*", "", "a.*", "a`b", "te*st"] {
            assert!(users_xml("admin", "x", &[user(bad)]).is_err(), "{bad:?}");
        }
    }
}
