//! The settings that every request to ClickHouse pins, whatever the user's profile says. This is the only place for them:
//! inserts, read-backs, `check`, `migrate` and `verify` take their client from here.
//!
//! A profile's value may make a read-back wrong (then rows are stored twice, or called stored although they are not). It may make
//! a question fail for ever (then no take-over ends), or split, delay or drop an insert. Settings that a person sets on purpose
//! and that fail loudly are not pinned: memory, threads, bandwidth, priorities, the limits of a user or of all users, quotas, the
//! handling of an error in a materialized view, quorums. force_data_skipping_indices is not pinned either, because it cannot be
//! set to nothing: its refusal is a stop. A profile that forbids a change (`readonly`, constraints) is a stop too. The error
//! names the setting, and `check` tries all of them in one question.

use std::time::Duration;

use clickhouse::Client;
use clickhouse::error::Error;
use tokio::sync::OnceCell;

use super::error::code_of;

/// A setting and its value.
type Setting = (&'static str, &'static str);

/// "Unknown setting".
const UNKNOWN_SETTING: u32 = 115;

/// On every request.
const EVERY: [Setting; 76] = [
    // the statements are ClickHouse's SQL
    ("dialect", "clickhouse"),
    // the defaults of another version, for every setting that is not named here
    ("compatibility", ""),
    // a request is no transaction: those are experimental and would hide their own rows
    ("implicit_transaction", "0"),
    // it silently cuts every answer to this number of rows
    ("limit", "0"),
    ("offset", "0"),
    // rows hidden by a condition of the profile would be stored again
    ("additional_table_filters", "{}"),
    ("additional_result_filter", ""),
    // an answer that is older than the last insert
    ("use_query_cache", "0"),
    // remembers from an earlier question which ranges of a part match a condition
    ("use_query_condition_cache", "0"),
    // deleted rows would count as there; rows changed by patches would be read without the change
    ("apply_deleted_mask", "1"),
    ("apply_patch_parts", "1"),
    // a new part would be left out
    ("ignore_cold_parts_seconds", "0"),
    ("prefer_warmed_unmerged_parts_seconds", "0"),
    // the answer is thrown away
    ("discard_query_data", "0"),
    // a condition would be taken for true because the table's ASSUME says so
    ("optimize_using_constraints", "0"),
    // other servers with other rows would each be asked for a share
    ("allow_experimental_parallel_reading_from_replicas", "0"),
    // a cancelled query, even one ended by its time limit, would answer with the rows that it has
    ("partial_result_on_first_cancel", "0"),
    // damaged data would be read without an error
    ("checksum_on_read", "1"),
    // a replicated table answers with what a quorum has
    ("select_sequential_consistency", "1"),
    // only merging engines have FINAL
    ("final", "0"),
    // they refuse a question that the primary key, an index or a projection does not answer: an old table has its own order
    ("force_primary_key", "0"),
    ("force_index_by_date", "0"),
    ("force_optimize_projection", "0"),
    ("force_optimize_projection_name", ""),
    // without the index on kafka_offset each read-back reads the whole table
    ("use_skip_indexes", "1"),
    // limits: with a large table, a question would fail for ever
    ("max_rows_to_read", "0"),
    ("max_bytes_to_read", "0"),
    ("max_rows_to_read_leaf", "0"),
    ("max_bytes_to_read_leaf", "0"),
    ("max_partitions_to_read", "-1"),
    ("max_columns_to_read", "0"),
    ("max_temporary_columns", "0"),
    ("max_temporary_non_const_columns", "0"),
    ("max_result_rows", "0"),
    ("max_result_bytes", "0"),
    ("max_rows_to_group_by", "0"),
    ("max_rows_to_sort", "0"),
    ("max_bytes_to_sort", "0"),
    ("max_rows_in_set", "0"),
    ("max_bytes_in_set", "0"),
    ("max_rows_in_distinct", "0"),
    ("max_bytes_in_distinct", "0"),
    ("max_rows_to_transfer", "0"),
    ("max_bytes_to_transfer", "0"),
    ("max_network_bytes", "0"),
    ("max_subquery_depth", "100"),
    ("max_ast_depth", "1000"),
    ("max_ast_elements", "50000"),
    ("max_expanded_ast_elements", "500000"),
    // speed limits: a query is refused because it would take long, or was slow for a while
    ("max_estimated_execution_time", "0"),
    ("max_execution_time_leaf", "0"),
    ("min_execution_speed", "0"),
    ("min_execution_speed_bytes", "0"),
    // an answer that a limit cuts short must be an error
    ("read_overflow_mode", "throw"),
    ("read_overflow_mode_leaf", "throw"),
    ("result_overflow_mode", "throw"),
    ("timeout_overflow_mode", "throw"),
    ("timeout_overflow_mode_leaf", "throw"),
    ("group_by_overflow_mode", "throw"),
    ("sort_overflow_mode", "throw"),
    ("set_overflow_mode", "throw"),
    ("distinct_overflow_mode", "throw"),
    ("transfer_overflow_mode", "throw"),
    // types of an answer, which is read in binary: null where none is expected, or no row at all
    ("aggregate_functions_null_for_empty", "0"),
    ("empty_result_for_aggregation_by_empty_set", "0"),
    ("group_by_use_nulls", "0"),
    ("cast_keep_nullable", "0"),
    ("data_type_default_nullable", "0"),
    ("transform_null_in", "0"),
    ("prefer_column_name_to_alias", "0"),
    ("session_timezone", "UTC"),
    // extra rows that do not belong to the answer
    ("extremes", "0"),
    ("asterisk_include_materialized_columns", "0"),
    ("asterisk_include_alias_columns", "0"),
    // the client accepts a limited number of header lines; a long query would send one for each step
    ("send_progress_in_http_headers", "0"),
    // an exception must be sent as an exception, and not inside rows
    ("http_write_exception_in_output_format", "0"),
];

/// On every insert.
const INSERT: [Setting; 20] = [
    ("insert_deduplicate", "1"),
    // a profile that disables it by this newer name doubles rows, whatever insert_deduplicate says
    ("deduplicate_insert", "enable"),
    // asynchronous by default since 26.2: the answer would come before the rows
    ("async_insert", "0"),
    ("wait_for_async_insert", "1"),
    ("deduplicate_blocks_in_dependent_materialized_views", "1"),
    // one block, one part: a split insert under one token would be deduplicated piece by piece
    ("max_insert_threads", "1"),
    ("input_format_parallel_parsing", "0"),
    ("min_insert_block_size_rows", "0"),
    ("min_insert_block_size_bytes", "0"),
    ("max_insert_block_size_bytes", "0"),
    ("use_strict_insert_block_limits", "0"),
    ("max_partitions_per_insert_block", "0"),
    ("wait_end_of_query", "1"),
    // an insert must never end another
    ("replace_running_query", "0"),
    // how long a body may pause; a drain relies on it
    ("http_receive_timeout", "30"),
    // a column of an adopted table may be nullable or without a dictionary, unlike the block's column
    ("input_format_native_allow_types_conversion", "1"),
    ("low_cardinality_allow_in_native_format", "1"),
    // the block has its types as text
    ("input_format_native_decode_types_in_binary_format", "0"),
    // a body without a row is a lost body
    ("throw_if_no_data_to_insert", "1"),
    // without it, parts without the index on kafka_offset would be read whole
    ("materialize_skip_indexes_on_insert", "1"),
];

/// On every statement that changes a definition.
const DEFINITION: [Setting; 1] = [
    // answered only when it is done, so that the next statement sees it
    ("alter_sync", "1"),
];

/// The settings of one kind of request. The first request is a question that carries them all. If the server does not know a
/// setting, its refusal names it, and it is left out: a profile cannot have changed a setting that the server does not know. So
/// no right on system.settings and no list of versions is needed.
#[derive(Clone, Debug)]
pub struct Pins {
    client: Client,
    settings: Vec<Setting>,
    pinned: OnceCell<Client>,
}

fn with(client: &Client, settings: &[Setting]) -> Client {
    settings.iter().fold(client.clone(), |client, (name, value)| client.with_setting(*name, *value))
}

impl Pins {
    /// For questions. Each may take `limit`.
    pub fn questions(client: &Client, limit: Duration) -> Self {
        Self::of(client, &[&EVERY]).with_limit(limit)
    }

    /// For inserts. Each may take `limit` and has at most `rows_max` rows.
    pub fn inserts(client: &Client, limit: Duration, rows_max: usize) -> Self {
        let pins = Self::of(client, &[&EVERY, &INSERT]).with_limit(limit);
        pins.and("max_insert_block_size", (rows_max + 1).to_string())
    }

    /// For statements that change definitions, and the questions before them. Each may take `limit`.
    pub fn definitions(client: &Client, limit: Duration) -> Self {
        Self::of(client, &[&EVERY, &DEFINITION]).with_limit(limit)
    }

    /// All settings at once, so that `check` names every forbidden one. A question may take `limit`.
    pub fn all(client: &Client, limit: Duration) -> Self {
        Self::of(client, &[&EVERY, &INSERT, &DEFINITION]).with_limit(limit)
    }

    fn of(client: &Client, lists: &[&[Setting]]) -> Self {
        Self { client: client.clone(), settings: lists.concat(), pinned: OnceCell::new() }
    }

    fn with_limit(self, limit: Duration) -> Self {
        self.and("max_execution_time", limit.as_secs().max(1).to_string())
    }

    /// Adds one setting for these requests only.
    #[must_use]
    pub fn and(mut self, name: &str, value: String) -> Self {
        self.client = self.client.with_setting(name, value);
        self
    }

    /// Whether the server was asked already.
    pub fn are_asked(&self) -> bool {
        self.pinned.initialized()
    }

    /// The client with all settings pinned that its server knows.
    ///
    /// # Errors
    /// The server forbids a setting, or does not answer.
    pub async fn client(&self) -> Result<&Client, Error> {
        self.pinned.get_or_try_init(|| self.ask()).await
    }

    async fn ask(&self) -> Result<Client, Error> {
        let mut settings = self.settings.clone();
        loop {
            let client = with(&self.client, &settings);
            // reads to the end of the answer, so that the connection is kept: an insert must use the same one
            match client.query("select 1").fetch_all::<u8>().await {
                Ok(_) => return Ok(client),
                Err(Error::BadResponse(text)) => match unknown(&settings, &text) {
                    // each setting can be refused once, so this ends
                    Some(index) => drop(settings.remove(index)),
                    None => return Err(Error::BadResponse(text)),
                },
                Err(error) => return Err(error),
            }
        }
    }
}

/// The setting that the server, by its refusal, does not know.
fn unknown(settings: &[Setting], text: &str) -> Option<usize> {
    if code_of(text) != Some(UNKNOWN_SETTING) {
        return None;
    }
    // "Unknown setting 'x'"; in older servers "Setting x is neither a builtin setting ..."
    let named = text.split("etting ").nth(1)?;
    let mut words = named.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.find_map(|word| settings.iter().position(|(name, _)| *name == word))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_setting_is_pinned_once() {
        let names = EVERY.iter().chain(&INSERT).chain(&DEFINITION).map(|(name, _)| *name);
        assert_eq!(names.clone().collect::<BTreeSet<_>>().len(), names.count());
    }

    #[test]
    fn a_server_goes_without_what_it_does_not_know_and_nothing_else() {
        let of = |text: &str| unknown(&INSERT, text).map(|index| INSERT[index].0);
        let today = "Code: 115. DB::Exception: Unknown setting 'throw_if_no_data_to_insert'. (UNKNOWN_SETTING)";
        assert_eq!(of(today), Some("throw_if_no_data_to_insert"));
        let older =
            "Code: 115. DB::Exception: Setting deduplicate_insert is neither a builtin setting nor started with";
        assert_eq!(of(older), Some("deduplicate_insert"));
        assert_eq!(of("Code: 115. DB::Exception: Unknown setting 'query_id_of_ours'."), None);
        assert_eq!(of("Code: 164. DB::Exception: Cannot modify 'async_insert' setting in readonly mode"), None);
    }
}
