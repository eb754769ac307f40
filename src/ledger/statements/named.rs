//! Statements whose parameters have names: `:claimed` in the text is the value given for "claimed". PostgreSQL only knows numbers,
//! and nobody can proofread a list of nineteen numbers. Pure.

use tokio_postgres::types::ToSql;

/// A parameter: its name and its value.
pub(super) type Parameter<'a> = (&'static str, &'a (dyn ToSql + Sync));

/// The text with numbers in place of names, and the values in the order of their numbers.
///
/// # Panics
/// The text names a parameter that is not given, or does not name one that is given. Both are errors of the program.
pub(super) fn numbered<'a>(text: &str, parameters: &[Parameter<'a>]) -> (String, Vec<&'a (dyn ToSql + Sync)>) {
    let mut sql = String::with_capacity(text.len());
    let mut is_named = vec![false; parameters.len()];
    let mut rest = text;
    while let Some(colon) = rest.find(':') {
        let (before, behind) = (&rest[..colon], &rest[colon + 1..]);
        sql.push_str(before);
        // `::` is a cast
        if let Some(cast) = behind.strip_prefix(':') {
            sql.push_str("::");
            rest = cast;
            continue;
        }
        let end = behind.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(behind.len());
        let name = &behind[..end];
        let index = parameters.iter().position(|(given, _)| *given == name);
        assert!(index.is_some(), "no value is given for :{name}");
        let index = index.unwrap_or_default();
        is_named[index] = true;
        sql.push_str(&format!("${}", index + 1));
        rest = &behind[end..];
    }
    sql.push_str(rest);
    assert!(is_named.iter().all(|&named| named), "a value is given that the statement does not name: {text}");
    (sql, parameters.iter().map(|&(_, value)| value).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_numbers_and_casts_stay() {
        let (sql, values) = numbered("select :b::text, :a from t where c = :b", &[("a", &1_i64), ("b", &"x")]);
        assert_eq!(sql, "select $2::text, $1 from t where c = $2");
        assert_eq!(values.len(), 2);
    }

    #[test]
    #[should_panic(expected = "no value is given for :b")]
    fn a_name_without_a_value_is_an_error_of_the_program() {
        numbered("select :b", &[]);
    }

    #[test]
    #[should_panic(expected = "a value is given that the statement does not name")]
    fn a_value_without_a_name_is_an_error_of_the_program() {
        numbered("select 1", &[("a", &1_i64)]);
    }
}
