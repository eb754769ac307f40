//! The text of /metrics as numbers. It takes Prometheus' text format, and gives sums, extremes and groups of samples by name and
//! labels. It knows neither types nor timestamps. A line that it cannot read is skipped. Pure.

use std::collections::BTreeMap;

/// A label and the value that it must have.
pub(super) type Where<'a> = (&'a str, &'a str);

/// One line of the page.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample {
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Sample {
    fn has(&self, wanted: &[Where<'_>]) -> bool {
        wanted.iter().all(|(label, value)| self.labels.get(*label).is_some_and(|found| found == value))
    }
}

/// The samples of one page by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples(BTreeMap<String, Vec<Sample>>);

impl Samples {
    pub(super) fn parse(text: &str) -> Self {
        let mut samples = BTreeMap::<String, Vec<Sample>>::new();
        for (name, sample) in text.lines().filter_map(sample) {
            samples.entry(name).or_default().push(sample);
        }
        Self(samples)
    }

    /// The samples of a name with these labels.
    pub(super) fn of<'a>(&'a self, name: &str, wanted: &'a [Where<'a>]) -> impl Iterator<Item = &'a Sample> {
        self.0.get(name).into_iter().flatten().filter(|sample| sample.has(wanted))
    }

    /// The sum of the samples. None: there is none.
    pub(super) fn sum(&self, name: &str, wanted: &[Where<'_>]) -> Option<f64> {
        self.of(name, wanted).map(|sample| sample.value).reduce(|one, other| one + other)
    }

    /// The largest sample.
    pub(super) fn max(&self, name: &str, wanted: &[Where<'_>]) -> Option<f64> {
        self.of(name, wanted).map(|sample| sample.value).reduce(f64::max)
    }

    /// The smallest sample.
    pub(super) fn min(&self, name: &str, wanted: &[Where<'_>]) -> Option<f64> {
        self.of(name, wanted).map(|sample| sample.value).reduce(f64::min)
    }

    /// The sums by the value of a label.
    pub(super) fn by(&self, name: &str, wanted: &[Where<'_>], label: &str) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for sample in self.of(name, wanted) {
            if let Some(value) = sample.labels.get(label) {
                *sums.entry(value.clone()).or_default() += sample.value;
            }
        }
        sums
    }
}

/// The name and the sample of a line such as `name{label="value"} 1`. None for a comment, too.
fn sample(line: &str) -> Option<(String, Sample)> {
    if line.starts_with('#') {
        return None;
    }
    let (name, rest) = line.split_at(line.find(['{', ' '])?);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inner) => labels(inner)?,
        None => (BTreeMap::new(), rest),
    };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some((name.to_owned(), Sample { labels, value }))
}

/// The labels up to the closing brace, and what follows it.
fn labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches([' ', ',']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (label, quoted) = rest.split_once("=\"")?;
        let (value, after) = unquoted(quoted)?;
        labels.insert(label.to_owned(), value);
        rest = after;
    }
}

/// The text up to the closing quotation mark, without its escapes, and what follows the mark.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# HELP rows rows stored\n# TYPE rows counter\nrows{route=\"a\",sink=\"postgres\"} 3\n\
                        rows{route=\"a\",sink=\"clickhouse\"} 4.5 1700000000000\nrows{route=\"b\", sink=\"postgres\",} 10\n\n\
                        budget 1e3\nnone NaN\nlast +Inf\nodd{text=\"a\\\"b\\\\c\\nd}, x=\"} -1\n";

    #[test]
    fn sums_extremes_and_groups_are_of_the_samples_with_the_labels() {
        let samples = Samples::parse(PAGE);
        assert_eq!(samples.sum("rows", &[]), Some(17.5));
        assert_eq!(samples.sum("rows", &[("route", "a")]), Some(7.5));
        assert_eq!(samples.sum("rows", &[("route", "a"), ("sink", "clickhouse")]), Some(4.5));
        assert_eq!((samples.max("rows", &[]), samples.min("rows", &[])), (Some(10.0), Some(3.0)));
        assert_eq!((samples.sum("rows", &[("route", "c")]), samples.sum("gone", &[])), (None, None));
        let by_sink = BTreeMap::from([("clickhouse".to_owned(), 4.5), ("postgres".to_owned(), 13.0)]);
        assert_eq!(samples.by("rows", &[], "sink"), by_sink);
        assert_eq!(samples.sum("budget", &[]), Some(1000.0));
        assert_eq!(samples.sum("last", &[]), Some(f64::INFINITY));
        assert!(samples.sum("none", &[]).unwrap().is_nan());
    }

    #[test]
    fn a_label_may_hold_every_character() {
        let samples = Samples::parse(PAGE);
        let odd: Vec<&Sample> = samples.of("odd", &[]).collect();
        assert_eq!((odd[0].labels["text"].as_str(), odd[0].value), ("a\"b\\c\nd}, x=", -1.0));
    }

    #[test]
    fn a_line_that_is_none_is_skipped() {
        for line in
            ["rows", "rows{", "rows{a=\"b\" 1", "rows{a=\"b} 1", "rows{a} 1", "rows x", "rows{a=\"b\"}", " ", "\\"]
        {
            assert_eq!(Samples::parse(&format!("{line}\ngood 1\n")).0.len(), 1, "{line}");
        }
    }
}
