//! What `check` finds wrong with ClickHouse, one test for each line.

use std::process::Stdio;

use footprint_stack::{ClickHouseRights, ClickHouseUser};

use super::found::{Case, check, found};
use super::{ready, with_file};
use crate::support::databases::{Databases, fresh_database, told_by_environment};
use crate::support::profile::Profile;
use crate::support::wait::until_or;
use crate::support::world::STORED;
use crate::support::{alone, calm, stack};

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

#[test]
fn a_view_whose_target_stores_a_repeated_insert_is_noted_with_the_statement_that_ends_it() {
    let _up = calm();
    let databases = ready("check_ch_views");
    databases.clickhouse_query("create table {db}.days (n UInt64) engine MergeTree order by n");
    databases
        .clickhouse_query("create materialized view {db}.daily to {db}.days as select 1 as n from {db}.user_footprint");
    let insert_twice = |token: &str| {
        for _ in 0..2 {
            databases.clickhouse_query(&format!(
                "insert into {{db}}.user_footprint (kafka_offset) settings insert_deduplication_token = '{token}', \
                 deduplicate_blocks_in_dependent_materialized_views = 1, async_insert = 0 values (1)"
            ));
        }
        databases.clickhouse_query("select (select count() from {db}.user_footprint), (select count() from {db}.days)")
    };
    assert_eq!(insert_twice("a"), ["1\t2"], "the harm is real");
    let finding = check(&databases.config).note("clickhouse_views");
    assert!(finding.text.contains(&format!("{0}.daily stores a repeated insert twice", databases.name)), "{finding:?}");
    databases.clickhouse_query(finding.to_run());
    check(&databases.config).ok("clickhouse_views");
    assert_eq!(insert_twice("b"), ["2\t3"], "the remedy helps");
}

#[test]
fn a_kernel_that_counts_no_waits_is_noted_with_the_switch() {
    let _up = calm();
    let databases = ready("check_ch_host");
    for (value, is_on) in [("0\n", false), ("1\n", true)] {
        let switch = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("task_delayacct-{is_on}"));
        std::fs::write(&switch, value).unwrap();
        let mut command = told_by_environment(&databases.config, "check");
        let found = found(&mut with_file(command.arg("--json"), &switch, "/proc/sys/kernel/task_delayacct"));
        if is_on {
            found.ok("clickhouse_task_delays");
        } else {
            let finding = found.note("clickhouse_task_delays");
            assert_eq!(finding.to_run(), "sysctl -w kernel.task_delayacct=1");
        }
    }
}

/// The settings of a user, for this test alone.
fn set_user(databases: &Databases, name: &str, grants: &[&str]) {
    let grants = grants.iter().map(|grant| grant.replace("{db}", &databases.name)).collect();
    let rights = ClickHouseRights::Exactly { grants, settings: Vec::new() };
    let password = stack().user_password().to_owned();
    stack().clickhouse().unwrap().set_user(ClickHouseUser { name: name.to_owned(), password, rights }).unwrap();
}

#[test]
fn the_probe_counts_what_the_server_makes_of_a_block_that_comes_twice() {
    let _up = calm();
    let databases = ready("check_ch_probe");
    let tables = || databases.clickhouse_query("select name from system.tables where database = '{db}' order by name");
    let probe =
        |databases: &Databases| found(told_by_environment(&databases.config, "check").args(["--json", "--probe"]));
    let (old, young) = ("footprint_probe_1700000000_0a0b0c0d", "footprint_probe_99999999999_0a0b0c0d");
    for table in [old, young] {
        databases.clickhouse_query(&format!("create table {{db}}.{table} (n UInt64) engine MergeTree order by n"));
    }
    let found = probe(&databases);
    found.is_clean();
    assert!(found.ok("clickhouse_probe").text.contains("inserted twice was stored once"));
    assert_eq!(tables(), [young, "user_footprint"], "its own table is gone, and so is one that was left behind");
    databases.clickhouse_query("alter table {db}.user_footprint reset setting non_replicated_deduplication_window");
    let finding = probe(&databases).fault("clickhouse_probe");
    assert!(finding.text.contains("was stored 2 times"), "{finding:?}");
    assert_eq!(tables(), [young, "user_footprint"]);
}

/// ClickHouse starts again with another user, so no other test may run.
#[test]
fn the_right_to_probe_comes_with_its_grant() {
    let _alone = alone();
    let mut databases = ready("check_ch_probe_rights");
    let user = format!("{}_user", databases.name);
    set_user(&databases, &user, &["GRANT SELECT, INSERT ON {db}.*"]);
    databases.config.clickhouse.user = user.clone();
    let finding =
        found(told_by_environment(&databases.config, "check").args(["--json", "--probe"])).fault("clickhouse_probe");
    let grant = format!("GRANT CREATE TABLE, DROP TABLE ON {}.* TO {user}", databases.name);
    assert_eq!(finding.to_run(), grant);
}

/// ClickHouse waits for the answer of the second insert, and the probe is interrupted meanwhile.
#[test]
fn an_interrupted_probe_leaves_nothing_behind() {
    let _up = calm();
    let databases = ready("check_ch_interrupted");
    let tables = || databases.clickhouse_query("select name from system.tables where database = '{db}'");
    // each insert into the scratch table, which is made like the route's, sleeps for three seconds
    databases.clickhouse_query("alter table {db}.user_footprint add constraint slow check sleepEachRow(3) = 0");
    let mut child =
        told_by_environment(&databases.config, "check").args(["--probe"]).stdout(Stdio::null()).spawn().unwrap();
    let made = || tables().iter().any(|table| table.starts_with("footprint_probe_")).then_some(());
    until_or("the scratch table is there", STORED, made, || format!("{:?}", tables()));
    let pid = i32::try_from(child.id()).unwrap();
    // SAFETY: a signal to a child that has not been waited for
    #[allow(unsafe_code)]
    let sent = unsafe { libc::kill(pid, libc::SIGINT) };
    assert_eq!((sent, child.wait().unwrap().code()), (0, Some(1)));
    assert_eq!(tables(), ["user_footprint"]);
}
