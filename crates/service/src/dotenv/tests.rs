//! python-dotenv 1.2 was asked what each of these texts says. Its answers are the specification.

use std::collections::BTreeMap;

use super::*;

/// The values by name, and the lines that cannot be read. The environment holds only `E=env`.
pub(super) fn read(text: &str) -> (BTreeMap<String, Option<String>>, Vec<usize>) {
    let (mut values, mut broken) = (BTreeMap::<String, Option<String>>::new(), Vec::new());
    for binding in parse(text) {
        match binding {
            Binding::Set { key, value, .. } => {
                let known = |name: &str| match name {
                    "E" => Some("env".to_owned()),
                    name => values.get(name).map(|value| value.clone().unwrap_or_default()),
                };
                let value = value.map(|value| expanded(&value, known));
                values.insert(key, value);
            }
            Binding::Broken(line) => broken.push(line.line),
        }
    }
    (values, broken)
}

/// The text, the names and values read from it, and the lines that cannot be read.
type Case = (&'static str, &'static [(&'static str, Option<&'static str>)], &'static [usize]);

const CASES: &[Case] = &[
    // the inputs that failed
    ("DB_PASSWORD=pa$word1", &[("DB_PASSWORD", Some("pa$word1"))], &[]),
    ("DB_PASSWORD=\"pa$word1\"", &[("DB_PASSWORD", Some("pa$word1"))], &[]),
    ("DB_PASSWORD=$ecret", &[("DB_PASSWORD", Some("$ecret"))], &[]),
    ("DB_PASSWORD=a$$b", &[("DB_PASSWORD", Some("a$$b"))], &[]),
    ("DB_PASSWORD=pa\\$word1", &[("DB_PASSWORD", Some("pa\\$word1"))], &[]),
    ("DB_PASSWORD=correct horse", &[("DB_PASSWORD", Some("correct horse"))], &[]),
    ("DB_PASSWORD=it's\nCH_PASSWORD='x'", &[("DB_PASSWORD", Some("it's")), ("CH_PASSWORD", Some("x"))], &[]),
    ("TITLE=It's a shop", &[("TITLE", Some("It's a shop"))], &[]),
    ("JAVA_OPTS=-Xms1g -Xmx1g", &[("JAVA_OPTS", Some("-Xms1g -Xmx1g"))], &[]),
    ("MY-KEY=x", &[("MY-KEY", Some("x"))], &[]),
    // comments and blanks
    (
        "A=b # c\nB=b#c\nC=# c\nD=#c\nE2= # c",
        &[("A", Some("b")), ("B", Some("b#c")), ("C", Some("# c")), ("D", Some("#c")), ("E2", Some(""))],
        &[],
    ),
    ("# A=b\n  # C=d\n\n  A =  b  \n", &[("A", Some("b"))], &[]),
    ("A='b' # c\nB=\"d\"#e", &[("A", Some("b")), ("B", Some("d"))], &[]),
    ("A=b\t#c", &[("A", Some("b"))], &[]),
    // quotes and escapes
    (r#"A='b\'c\n' B"#, &[], &[1]),
    (r#"A='b\'c\n\\'"#, &[("A", Some(r"b'c\n\"))], &[]),
    (r#"A="b\"c\n\t\\\x""#, &[("A", Some("b\"c\n\t\\\\x"))], &[]),
    ("A='one\ntwo'\nB=c", &[("A", Some("one\ntwo")), ("B", Some("c"))], &[]),
    ("A=\"one\r\ntwo\"\r\nB=c\r\n", &[("A", Some("one\ntwo")), ("B", Some("c"))], &[]),
    ("A='b\nB=c", &[("B", Some("c"))], &[1]),
    ("A=b'c'd\nB='b'c\nC=d", &[("A", Some("b'c'd")), ("C", Some("d"))], &[2]),
    ("'A'=b\n'C D'=e", &[("A", Some("b")), ("C D", Some("e"))], &[]),
    // names
    ("export A=b\nexport\tB=c\nexportC=d", &[("A", Some("b")), ("B", Some("c")), ("exportC", Some("d"))], &[]),
    ("A\nB=\nC = d", &[("A", None), ("B", Some("")), ("C", Some("d"))], &[]),
    ("A b=c\n=d\nE2=f", &[("E2", Some("f"))], &[1, 2]),
    ("A=1\nA=2", &[("A", Some("2"))], &[]),
    ("\u{feff}A=b\rB=c", &[("A", Some("b")), ("B", Some("c"))], &[]),
    // expansion
    (
        "A=x\nB=${A}y\nC='${A}'\nD=\"$A${A}\"",
        &[("A", Some("x")), ("B", Some("xy")), ("C", Some("x")), ("D", Some("$Ax"))],
        &[],
    ),
    ("A=${N:-d}${N}${E:-d}\nB=${A:-d}", &[("A", Some("denv")), ("B", Some("denv"))], &[]),
    ("E=file\nA=${E}", &[("E", Some("file")), ("A", Some("env"))], &[]),
    ("N\nA=${N:-d}", &[("N", None), ("A", Some(""))], &[]),
    ("A=${B\nB=${:-x}${a:b}", &[("A", Some("${B")), ("B", Some("x${a:b}"))], &[]),
];

#[test]
fn each_text_says_what_it_said_to_python() {
    for &(text, values, broken) in CASES {
        let values = values.iter().map(|&(key, value)| (key.to_owned(), value.map(str::to_owned))).collect();
        assert_eq!(read(text), (values, broken.to_vec()), "{text:?}");
    }
}

#[test]
fn a_broken_line_is_named_with_every_name_that_it_swallows_and_no_value() {
    let broken = |text: &str| match &parse(text)[..] {
        [Binding::Broken(broken), ..] => (broken.line, broken.keys.clone()),
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(broken("DB_PASSWORD='secret' word"), (1, vec!["DB_PASSWORD".to_owned()]));
    assert_eq!(broken("\n\nexport DB_PASSWORD = \"secret"), (3, vec!["DB_PASSWORD".to_owned()]));
    let swallowed = "TITLE='It is\nDB_PASSWORD='secret'";
    assert_eq!(broken(swallowed), (1, vec!["TITLE".to_owned(), "DB_PASSWORD".to_owned()]));
    assert_eq!(broken("my secret words"), (1, vec![]));
    assert!(!format!("{:?}", parse(swallowed)).contains("secret"));
}

/// Nothing panics, and every text ends.
#[test]
fn any_text_is_read() {
    use proptest::prelude::*;
    proptest!(|(text in "([A-B='\"\\\\# \n\r$\\{\\}:é-]|export ){0,40}")| {
        let lines = text.lines().count() + text.matches('\r').count() + 1;
        for binding in parse(&text) {
            let line = match binding { Binding::Set { line, .. } => line, Binding::Broken(broken) => broken.line };
            prop_assert!(line >= 1 && line <= lines);
        }
    });
}
