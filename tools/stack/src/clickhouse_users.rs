//! ClickHouse's users and their rights. The embedded server has no writable store of users (`CREATE USER` and `GRANT` answer
//! ACCESS_STORAGE_FOR_INSERTION_NOT_FOUND), so they are written to users.xml before it starts.

use crate::error::StackError;
use crate::name;

/// A ClickHouse user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClickHouseUser {
    /// The user's name.
    pub name: String,
    /// The password, in clear.
    pub password: String,
    /// What it may do.
    pub rights: ClickHouseRights,
}

/// What a ClickHouse user may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClickHouseRights {
    /// What the first user's site grants, on one database or on all whose names begin alike.
    Site {
        /// `prd` means that database. `test_*` means all databases whose names begin with `test_`.
        databases: String,
        /// Additional rights on them, separated by commas. Empty: none.
        also: &'static str,
    },
    /// These grants and no others.
    Exactly {
        /// `GRANT` statements without `TO` and the user's name.
        grants: Vec<String>,
        /// The user's settings: names and values.
        settings: Vec<(String, String)>,
    },
}

/// Exactly the rights that the first user's site grants on its database, and nothing outside it. footprint must work with them.
const SITE_RIGHTS: &str = "SELECT, INSERT, CREATE, ALTER UPDATE, ALTER DELETE, TRUNCATE, DROP";

/// The rights that `footprint migrate` asks for, word for word, before it adopts an old table with three columns.
pub const ADOPTION_RIGHTS: &str = "ALTER ADD COLUMN, ALTER ADD INDEX, ALTER MODIFY SETTING";

/// The profile of users without settings of their own.
const DEFAULT_PROFILE: &str = "default";

/// The rights of the session that keeps the listeners open. It needs no password, and any loopback client may use it (ClickHouse
/// takes every 127.0.0.0/8 and ::1 for "local"), so it has almost no rights.
const KEEPER_RIGHTS: [&str; 3] =
    ["GRANT SYSTEM LISTEN ON *.*", "GRANT CREATE TEMPORARY TABLE ON *.*", "GRANT READ ON FILE"];

/// The whole of users.xml: the keeper, the administrator, and `users`.
pub(crate) fn users_xml(admin: &str, admin_password: &str, users: &[ClickHouseUser]) -> Result<String, StackError> {
    let mut all = user_xml("default", "<no_password/>", DEFAULT_PROFILE, &grants_xml(KEEPER_RIGHTS));
    let everything = "<access_management>1</access_management>";
    all += &user_xml(admin, &password_xml(admin_password), DEFAULT_PROFILE, everything);
    let mut profiles = format!("<{DEFAULT_PROFILE}/>");
    for user in users {
        let name = name::check(&user.name)?;
        let (grants, profile) = match &user.rights {
            ClickHouseRights::Site { databases, also } => {
                name::check(databases.strip_suffix('*').unwrap_or(databases))?;
                let rights = [SITE_RIGHTS, also].into_iter().filter(|rights| !rights.is_empty());
                (rights.map(|rights| format!("GRANT {rights} ON {databases}.*")).collect(), DEFAULT_PROFILE)
            }
            ClickHouseRights::Exactly { grants, settings } => {
                profiles += &profile_xml(name, settings)?;
                (grants.clone(), name)
            }
        };
        let grants = grants_xml(grants.iter().map(String::as_str));
        all += &user_xml(name, &password_xml(&user.password), profile, &grants);
    }
    Ok(format!(
        "<clickhouse>\n<profiles>{profiles}</profiles>\n<quotas><default/></quotas>\n<users>\n{all}</users>\n</clickhouse>\n"
    ))
}

fn user_xml(name: &str, password: &str, profile: &str, rights: &str) -> String {
    format!(
        "<{name}>{password}<networks><ip>127.0.0.1</ip></networks><profile>{profile}</profile>\
         <quota>default</quota>{rights}</{name}>\n"
    )
}

/// The profile of one user, with the user's name.
fn profile_xml(name: &str, settings: &[(String, String)]) -> Result<String, StackError> {
    let mut lines = String::new();
    for (setting, value) in settings {
        let setting = name::check(setting)?;
        lines += &format!("<{setting}>{}</{setting}>", escaped(value));
    }
    Ok(format!("<{name}>{lines}</{name}>"))
}

fn password_xml(password: &str) -> String {
    format!("<password>{}</password>", escaped(password))
}

fn grants_xml<'a>(grants: impl IntoIterator<Item = &'a str>) -> String {
    let queries: String = grants.into_iter().map(|grant| format!("<query>{}</query>", escaped(grant))).collect();
    format!("<grants>{queries}</grants>")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_gets_its_databases_and_no_others() {
        let user = |databases: &str| ClickHouseUser {
            name: "footprint".into(),
            password: "a<b".into(),
            rights: ClickHouseRights::Site { databases: databases.into(), also: ADOPTION_RIGHTS },
        };
        let text = users_xml("admin", "x", &[user("test_*")]).expect("a good user");
        assert!(text.contains("TRUNCATE, DROP ON test_*.*</query>") && text.contains("a&lt;b"), "{text}");
        assert!(text.contains("<query>GRANT ALTER ADD COLUMN, "), "{text}");
        let grants = vec!["GRANT SELECT ON a.b".to_owned()];
        let rights = ClickHouseRights::Exactly { grants, settings: vec![("readonly".into(), "2".into())] };
        let reader = ClickHouseUser { name: "reader".into(), password: "x".into(), rights };
        let text = users_xml("admin", "x", &[reader]).expect("a good user");
        assert!(text.contains("<reader><readonly>2</readonly></reader></profiles>"), "{text}");
        assert!(text.contains("<profile>reader</profile>") && !text.contains("TRUNCATE"), "{text}");
        for bad in ["*", "", "a.*", "a`b", "te*st"] {
            assert!(users_xml("admin", "x", &[user(bad)]).is_err(), "{bad:?}");
        }
    }
}
