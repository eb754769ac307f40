//! Finds the known name that a misspelt one was meant to be. Pure.

/// The name of `known` with the fewest typing errors between it and `name`. None if that is more than a third of the name.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    within(name, known, (name.chars().count() / 3).max(1))
}

/// The name of `known` with the fewest typing errors between it and `name`, and at most `bound` of them.
pub(super) fn within<'a>(name: &str, known: impl IntoIterator<Item = &'a str>, bound: usize) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|&(distance, _)| distance <= bound)
        .min()
        .map(|(_, candidate)| candidate)
}

/// The number of letters that are added, left out, replaced, or swapped with their neighbour.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let width = other.len() + 1;
    let mut rows = vec![0; (one.len() + 1) * width];
    for i in 0..=one.len() {
        for j in 0..width {
            rows[i * width + j] = if i == 0 || j == 0 {
                i + j
            } else {
                let differs = usize::from(one[i - 1] != other[j - 1]);
                let replaced = rows[(i - 1) * width + j - 1] + differs;
                let plain = replaced.min(rows[(i - 1) * width + j] + 1).min(rows[i * width + j - 1] + 1);
                if i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1] {
                    plain.min(rows[(i - 2) * width + j - 2] + 1)
                } else {
                    plain
                }
            };
        }
    }
    rows[rows.len() - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_are_counted() {
        for (one, other, errors) in [
            ("", "", 0),
            ("", "abc", 3),
            ("port", "port", 0),
            ("prot", "port", 1),
            ("pasword", "password", 1),
            ("lanes", "lane", 1),
            ("host", "cost", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!((distance(one, other), distance(other, one)), (errors, errors), "{one} {other}");
        }
    }

    #[test]
    fn what_is_far_from_all_is_near_to_none() {
        let known = ["host", "port", "password", "password_file"];
        assert_eq!(nearest("pasword", known), Some("password"));
        assert_eq!(nearest("pasword_file", known), Some("password_file"));
        assert_eq!(nearest("prt", known), Some("port"));
        assert_eq!(nearest("retention", known), None);
        assert_eq!(nearest("x", known), None);
    }
}
