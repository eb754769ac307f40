//! What `check` finds wrong with PostgreSQL, one test for each line. Each breaks one thing, pastes the remedy, and checks again.

use super::found::{Case, Finding, Found, check};
use super::ready;
use crate::support::databases::{Databases, fresh_database};
use crate::support::wait::until_or;
use crate::support::world::STORED;
use crate::support::{alone, calm, stack};

/// Runs what the remedy says as superuser. Then the line is in order.
fn paste(databases: &Databases, finding: &Finding, id: &str) -> Found {
    databases.postgres_query(finding.to_run());
    let found = check(&databases.config);
    for status in ["fault", "note"] {
        assert!(!found.ids(status).contains(&id), "{id} is still wrong after {:?}", finding.to_run());
    }
    found
}

#[test]
fn a_server_that_lets_nobody_in_is_named_with_the_settings_to_look_at() {
    let _up = calm();
    let databases = ready("check_login");
    let cases: [Case; 4] = [
        ("password", |site| site.config.postgres.password = "wrong".to_owned().into(), "28P01", "DB_PASSWORD"),
        ("database", |site| site.config.postgres.database = "nowhere".into(), "3D000", "look at DB_NAME"),
        ("port", |site| site.config.postgres.port = 1, "refused", "DB_PORT"),
        ("another server's port", |site| site.config.postgres.port = site.config.clickhouse.port, "", "DB_PORT"),
    ];
    for (what, break_it, why, what_to_do) in cases {
        let mut site = Databases { name: databases.name.clone(), config: databases.config.clone() };
        break_it(&mut site);
        let found = check(&site.config);
        let finding = found.fault("postgres_answers");
        assert!(finding.text.contains(why) && finding.remedy.contains(what_to_do), "{what}: {finding:?}");
        assert_eq!(found.ids("fault"), ["postgres_answers"], "{what}: the other servers are asked all the same");
    }
}

#[test]
fn a_database_that_takes_no_writes_is_named_with_the_statement_that_opens_it() {
    let _up = calm();
    let databases = ready("check_read_only");
    let name = &databases.name;
    for of in [format!("database {name}"), format!("role footprint in database {name}")] {
        databases.postgres_query(&format!("alter {of} set default_transaction_read_only = on"));
        let finding = check(&databases.config).fault("postgres_writes");
        assert!(finding.text.contains("read-only"), "{finding:?}");
        let statement = format!("alter {of} reset default_transaction_read_only");
        assert_eq!(finding.to_run(), format!("set default_transaction_read_only = off; {statement}"));
        // psql runs them one after the other
        stack().postgres().unwrap().execute("postgres", &statement).unwrap();
        check(&databases.config).is_clean();
    }
}

#[test]
fn settings_that_a_superuser_has_set_for_the_role_are_named() {
    let _up = calm();
    let databases = ready("check_role");
    let role = format!("alter role footprint in database {} set", databases.name);
    for (setting, id) in [
        ("zero_damaged_pages = on", "postgres_zero_damaged_pages"),
        ("ignore_checksum_failure = on", "postgres_ignore_checksum_failure"),
    ] {
        databases.postgres_query(&format!("{role} {setting}"));
        let found = check(&databases.config);
        let finding = if id == "postgres_zero_damaged_pages" {
            found.fault("postgres_zero_damaged_pages")
        } else {
            found.fault("postgres_ignore_checksum_failure")
        };
        assert!(finding.text.contains(": on: a damaged page"), "{finding:?}");
        paste(&databases, &finding, id).is_clean();
    }
    databases.postgres_query(&format!("{role} session_replication_role = replica"));
    let finding = check(&databases.config).note("postgres_replication_role");
    paste(&databases, &finding, "postgres_replication_role").is_clean();
}

/// These two belong to the whole server.
#[test]
fn a_server_that_does_not_wait_for_its_disk_is_a_fault() {
    let _alone = alone();
    let databases = ready("check_fsync");
    for setting in ["fsync", "full_page_writes"] {
        databases.postgres_query(&format!("alter system set {setting} = off"));
    }
    databases.postgres_query("select pg_reload_conf()");
    let off = || databases.postgres_query("select current_setting('fsync') || current_setting('full_page_writes')");
    let wait = |wanted: &str| {
        until_or(wanted, STORED, || (off() == [wanted]).then_some(()), || format!("{:?}", off()));
    };
    wait("offoff");
    let found = check(&databases.config);
    let (fsync, pages) = (found.fault("postgres_fsync"), found.fault("postgres_full_page_writes"));
    for finding in [&fsync, &pages] {
        for statement in finding.to_run().split("; ") {
            databases.postgres_query(statement);
        }
    }
    wait("onon");
    check(&databases.config).is_clean();
    for setting in ["fsync", "full_page_writes"] {
        stack().postgres().unwrap().execute("postgres", &format!("alter system reset {setting}")).unwrap();
    }
}

#[test]
fn a_missing_ledger_and_the_right_to_make_it_are_named() {
    let _up = calm();
    let databases = fresh_database("check_rights");
    databases.postgres_query("alter schema public owner to current_user; revoke create on schema public from public");
    let found = check(&databases.config);
    assert_eq!(found.fault("ledger_version").remedy, "run `footprint migrate`");
    let finding = found.fault("postgres_rights");
    assert_eq!(finding.to_run(), "grant usage, create on schema public to footprint");
    paste(&databases, &finding, "postgres_rights");
    databases.postgres_query("revoke all on schema public from public, footprint");
    assert_eq!(check(&databases.config).fault("postgres_answers").remedy, "set postgres.schema");
}

#[test]
fn a_ledger_of_another_version_is_named() {
    let _up = calm();
    let databases = ready("check_version");
    databases.postgres_query(
        "insert into footprint_migration select 1000, 'new', applied_on, checksum from footprint_migration limit 1",
    );
    let finding = check(&databases.config).fault("ledger_version");
    assert!(finding.text.contains("version 1000, this program knows"), "{finding:?}");
    databases.postgres_query("delete from footprint_migration where version > 1");
    let finding = check(&databases.config).fault("ledger_version");
    assert!(finding.text.contains("version 1, this program needs"), "{finding:?}");
}

#[test]
fn a_right_that_is_missing_comes_with_its_grant() {
    let _up = calm();
    let databases = ready("check_grants");
    for table in ["dead_letters", "user_footprint"] {
        databases.postgres_query(&format!(
            "alter table {table} owner to current_user; revoke all on {table} from footprint"
        ));
    }
    let found = check(&databases.config);
    let (ledger, table) = (found.fault("ledger_tables"), found.fault("postgres_table_rights"));
    assert_eq!(ledger.to_run(), "grant select, insert on dead_letters to footprint");
    assert_eq!(table.to_run(), "grant select, insert on user_footprint to footprint");
    assert_eq!((ledger.route, table.route.as_deref()), (None, Some("user_footprint")));
    databases.postgres_query(table.to_run());
    paste(&databases, &found.fault("ledger_tables"), "ledger_tables").is_clean();
}

#[test]
fn tables_that_belong_to_another_route_are_named() {
    let _up = calm();
    let databases = ready("check_routes");
    databases.postgres_query("update footprint_route set route = 'other'");
    let finding = check(&databases.config).fault("route_tables");
    assert!(finding.text.contains("belong to route other for good"), "{finding:?}");
    databases.postgres_query("delete from footprint_route");
    assert_eq!(check(&databases.config).fault("route_tables").remedy, "run `footprint migrate`");
}

#[test]
fn a_table_that_is_missing_or_lacks_something_is_named() {
    let _up = calm();
    let databases = ready("check_shape");
    databases.postgres_query("drop index user_footprint_received_at_idx");
    let finding = check(&databases.config).fault("postgres_table");
    assert!(
        finding.remedy.contains("`footprint migrate`; it will report: ")
            && finding.remedy.contains("BRIN index on received_at"),
        "{finding:?}"
    );
    databases.postgres_query("alter table user_footprint rename to elsewhere");
    let found = check(&databases.config);
    assert_eq!(found.fault("postgres_table").remedy, "run `footprint migrate`");
}

#[test]
fn what_hides_loses_changes_or_refuses_rows_is_named() {
    let _up = calm();
    let databases = ready("check_rows");
    databases.postgres_query(
        "alter table user_footprint enable row level security; alter table user_footprint force row level security",
    );
    let finding = check(&databases.config).fault("postgres_row_security");
    assert_eq!(finding.to_run(), "alter role footprint bypassrls", "not pasted here: all tests share the role");
    databases.postgres_query(
        "alter table user_footprint disable row level security; alter table user_footprint set unlogged",
    );
    let finding = check(&databases.config).fault("postgres_unlogged");
    paste(&databases, &finding, "postgres_unlogged").is_clean();
    databases.postgres_query("alter table user_footprint add constraint short check (length(link) < 9)");
    databases.postgres_query("create function keep() returns trigger language plpgsql as 'begin return new; end'");
    databases
        .postgres_query("create trigger keep before insert on user_footprint for each row execute function keep()");
    let found = check(&databases.config);
    let (trigger, constraint) = (found.note("postgres_triggers"), found.note("postgres_constraints"));
    assert!(constraint.text.contains("constraint short"), "{constraint:?}");
    databases.postgres_query(constraint.to_run());
    let found = paste(&databases, &trigger, "postgres_triggers");
    assert!(!found.ids("note").contains(&"postgres_constraints"));
}
