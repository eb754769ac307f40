//! A file of `queries/`: a comment that asks the question, then the SQL for each database after a line with the database's name.
//! Comments never reach Grafana: its PostgreSQL data source expands macros in comments too.

use std::fs;

use anyhow::{Context as _, Result};

use crate::database::Database;
use crate::root;

/// The SQL of a question for one database.
pub(crate) fn sql(question: &str, database: Database) -> Result<String> {
    let path = root().join(format!("queries/{question}.sql"));
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    section(&text, database).with_context(|| format!("{} has no SQL for {}", path.display(), database.name()))
}

fn section(text: &str, database: Database) -> Option<String> {
    let (_, after) = text.split_once(&format!("\n-- {}\n", database.key()))?;
    let lines = after.lines().take_while(|line| !line.starts_with("-- "));
    let sql = lines.collect::<Vec<_>>().join("\n").trim().to_owned();
    (!sql.is_empty()).then_some(sql)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_ends_at_the_next_comment() {
        let text = "-- How many?\n\n-- postgresql\nselect 1\n\n-- clickhouse\nselect\n  2\n";
        assert_eq!(section(text, Database::PostgreSql).as_deref(), Some("select 1"));
        assert_eq!(section(text, Database::ClickHouse).as_deref(), Some("select\n  2"));
        assert_eq!(section("-- How many?\n\n-- postgresql\n\n", Database::PostgreSql), None);
    }
}
