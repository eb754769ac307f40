//! What `check` finds wrong with ClickHouse, one test for each line.

use super::found::{Case, check};
use super::ready;
use crate::support::databases::{Databases, fresh_database};
use crate::support::profile::Profile;
use crate::support::{calm, stack};

#[test]
fn a_server_that_lets_nobody_in_is_named_with_the_settings_to_look_at() {
    let _up = calm();
    let databases = ready("check_ch_login");
    let cases: [Case; 4] = [
        ("password", |site| site.config.clickhouse.password = "wrong".to_owned().into(), "Code: 516", "CH_PASSWORD"),
        ("port", |site| site.config.clickhouse.port = 1, "refused", "CH_PORT"),
        (
            "the native port",
            |site| site.config.clickhouse.port = stack().clickhouse().unwrap().tcp_port(),
            "",
            "CH_PORT is the native port; set it to the HTTP port",
        ),
        ("another server's port", |site| site.config.clickhouse.port = site.config.postgres.port, "", "CH_PORT"),
    ];
    for (what, break_it, why, what_to_do) in cases {
        let mut site = Databases { name: databases.name.clone(), config: databases.config.clone() };
        break_it(&mut site);
        let found = check(&site.config);
        let finding = found.fault("clickhouse_answers");
        assert!(finding.text.contains(why) && finding.remedy.contains(what_to_do), "{what}: {finding:?}");
        assert_eq!(found.ids("fault"), ["clickhouse_answers"], "{what}: the other servers are asked all the same");
    }
}

#[test]
fn a_profile_that_forbids_a_setting_is_named() {
    let _up = calm();
    let mut databases = ready("check_ch_profile");
    let profile = Profile::start(databases.config.clickhouse.port, &[("readonly", "2")]);
    databases.config.clickhouse.port = profile.port();
    let finding = check(&databases.config).fault("clickhouse_settings");
    assert_eq!(finding.remedy, "set readonly = 0 in its profile", "{finding:?}");
}

#[test]
fn a_missing_right_comes_with_its_grant() {
    let _up = calm();
    let databases = fresh_database("check_ch_rights");
    databases.clickhouse_query("create table {db}.user_footprint (link String) engine MergeTree order by link");
    let finding = check(&databases.config).fault("clickhouse_rights");
    let (statement, name) = (finding.to_run(), &databases.name);
    assert!(
        statement.starts_with("GRANT ALTER ADD COLUMN, ")
            && statement.contains(&format!(" ON {name}.user_footprint TO ")),
        "{statement}"
    );
}

#[test]
fn a_table_that_is_missing_or_lacks_something_is_named() {
    let _up = calm();
    let databases = ready("check_ch_shape").for_adopter();
    databases.clickhouse_query("alter table {db}.user_footprint reset setting non_replicated_deduplication_window");
    databases.clickhouse_query("alter table {db}.user_footprint drop index kafka_offset_minmax");
    let found = check(&databases.config);
    let finding = found.fault("clickhouse_table_settings");
    assert!(finding.text.contains("non_replicated_deduplication_window not set"), "{finding:?}");
    let finding = found.fault("clickhouse_table");
    assert!(finding.remedy.contains("`footprint migrate`; it will report: added a minmax index"), "{finding:?}");
    databases.clickhouse_query("drop table {db}.user_footprint");
    let finding = check(&databases.config).fault("clickhouse_table");
    assert_eq!(finding.remedy, "run `footprint migrate`");
}

#[test]
fn a_constraint_is_noted_with_the_statement_that_drops_it() {
    let _up = calm();
    let databases = ready("check_ch_constraint");
    databases.clickhouse_query("alter table {db}.user_footprint add constraint short check length(link) < 9");
    let found = check(&databases.config);
    found.is_clean();
    databases.clickhouse_query(found.note("clickhouse_constraints").to_run());
    assert!(!check(&databases.config).ids("note").contains(&"clickhouse_constraints"));
}
