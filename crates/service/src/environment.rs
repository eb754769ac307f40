//! The environment: the process's variables, and below them those of `./.env`. Takes only the names that footprint knows, each
//! with its place. Ignores all others. No error and no note holds a value.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use crate::dotenv::{Binding, Broken, expanded, parse};
use crate::report::{Cause, Remedy};

/// The old consumer's names and the settings that they mean.
pub(crate) const OLD_NAMES: [(&str, &str); 16] = [
    ("BOOTSTRAP_SERVER", "kafka.bootstrap_servers"),
    ("GROUP_ID", "kafka.group_id"),
    ("OFFSET_RESET_CONFIG", "kafka.offset_reset"),
    ("DB_HOST", "postgres.host"),
    ("DB_PORT", "postgres.port"),
    ("DB_NAME", "postgres.database"),
    ("DB_USER", "postgres.user"),
    ("DB_PASSWORD", "postgres.password"),
    ("DB_PASSWORD_FILE", "postgres.password_file"),
    ("CH_HOST", "clickhouse.host"),
    ("CH_PORT", "clickhouse.port"),
    ("CH_USER", "clickhouse.user"),
    ("CH_PASSWORD", "clickhouse.password"),
    ("CH_PASSWORD_FILE", "clickhouse.password_file"),
    ("LOG_DIR", "telemetry.log_dir"),
    ("LOG_LEVEL", "telemetry.log"),
];
/// The old name of the first route's topic.
pub(crate) const TOPIC: &str = "TOPIC";
/// The beginning of our own names, `FOOTPRINT_SECTION__KEY`.
pub(crate) const PREFIX: &str = "FOOTPRINT_";

/// The file. Only the working directory is searched.
const FILE: &str = ".env";
/// A larger file is no list of settings.
const FILE_BYTES_MAX: u64 = 1 << 20;

fn is_ours(name: &str) -> bool {
    name == TOPIC || name.starts_with(PREFIX) || OLD_NAMES.iter().any(|(old, _)| *old == name)
}

/// Why the environment cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnvironmentError {
    #[error("the variable {0} is not UTF-8 text; set it again, in a shell that speaks UTF-8")]
    NotText(String),
    #[error("{}", .path.display())]
    Unreadable { path: PathBuf, source: Remedy },
    /// A line with a name of ours cannot be read.
    #[error("{} line {line} ({key}): {why}", .path.display())]
    Line { path: PathBuf, line: usize, key: String, why: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Process,
    Line(usize),
}

/// A variable with a name of ours.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Variable {
    value: String,
    place: Place,
}

impl Variable {
    pub(crate) fn value(&self) -> &str {
        &self.value
    }

    /// The line of `.env` that set it. None: the process's environment did.
    pub(crate) fn line(&self) -> Option<usize> {
        match self.place {
            Place::Process => None,
            Place::Line(line) => Some(line),
        }
    }
}

impl fmt::Debug for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Variable({:?})", self.place)
    }
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// Which file was read, or that none was.
    File(String),
    /// A line for another name that cannot be read.
    Ignored(String),
}

/// The variables with a name of ours, and their faults, which the configuration reports together with its own.
#[derive(Debug, Default)]
pub struct Environment {
    variables: BTreeMap<String, Variable>,
    notes: Vec<Note>,
    faults: Vec<EnvironmentError>,
}

/// Every variable of the process, ours or not.
type Process = BTreeMap<OsString, OsString>;

impl Environment {
    /// The process's variables alone.
    pub(crate) fn of_process() -> Self {
        Self::of(&std::env::vars_os().collect())
    }

    /// The process's variables, and below them those of `./.env`. Faults in them are faults of the configuration.
    pub fn load() -> Self {
        let process: Process = std::env::vars_os().collect();
        let mut environment = Self::of(&process);
        let directory = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
        let path = directory.join(FILE);
        match read(&path) {
            Ok(Read::Text(bytes)) => environment.add_file(&path, &bytes, &process),
            Ok(Read::Nothing) => {
                environment.notes.push(Note::File(format!("no {FILE} in {}", directory.display())));
            }
            Ok(Read::NoFile) => {
                environment.notes.push(Note::File(format!("{} is not a file and was not read", path.display())));
            }
            Err(error) => environment.faults.push(error),
        }
        environment
    }

    /// These variables, as if the process had them.
    #[cfg(test)]
    pub(crate) fn of_variables(variables: &[(&str, &str)]) -> Self {
        Self::of(&variables.iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    fn of(process: &Process) -> Self {
        let mut environment = Self::default();
        for (name, value) in process {
            let name = name.to_string_lossy();
            if !is_ours(&name) {
                continue;
            }
            match value.to_str() {
                Some(value) => {
                    let variable = Variable { value: value.to_owned(), place: Place::Process };
                    environment.variables.insert(name.into_owned(), variable);
                }
                None => environment.faults.push(EnvironmentError::NotText(name.into_owned())),
            }
        }
        environment
    }

    /// Adds the variables that the file sets and the process does not.
    fn add_file(&mut self, path: &Path, bytes: &[u8], process: &Process) {
        let (text, not_text) = decoded(bytes);
        if text.contains('\0') {
            self.faults.push(unreadable(path, "it is no UTF-8 text (UTF-16, perhaps)"));
            return;
        }
        let bindings = parse(&text);
        let line_of = |binding: &Binding| match binding {
            Binding::Set { line, .. } => *line,
            Binding::Broken(broken) => broken.line,
        };
        let mut known: BTreeMap<String, String> = BTreeMap::new();
        let mut count = 0;
        for (index, binding) in bindings.iter().enumerate() {
            let next = bindings.get(index + 1).map_or(usize::MAX, line_of);
            let is_damaged = not_text.range(line_of(binding)..next).next().is_some();
            match binding {
                Binding::Broken(broken) => self.note_broken(path, broken, process),
                Binding::Set { key, value: None, .. } => drop(known.insert(key.clone(), String::new())),
                Binding::Set { line, key, value: Some(value) } => {
                    let is_wanted = is_ours(key) && !process.contains_key(OsStr::new(key));
                    let (value, foreign) = expand(value, &known, process);
                    known.insert(key.clone(), value.clone());
                    if !is_wanted {
                        continue;
                    }
                    let why = if is_damaged && value.contains(char::REPLACEMENT_CHARACTER) {
                        "it is not UTF-8 text; save the file as UTF-8".to_owned()
                    } else if let Some(name) = foreign {
                        format!("it refers to {name}, which is not UTF-8 text")
                    } else {
                        count += 1;
                        self.variables.insert(key.clone(), Variable { value, place: Place::Line(*line) });
                        continue;
                    };
                    self.refuse_line(path, *line, key, why);
                }
            }
        }
        self.notes.push(Note::File(format!("read {}: {count} settings", path.display())));
        if let Some(first) = not_text.first() {
            let what = format!("{}: {} lines are not UTF-8 text, the first is {first}", path.display(), not_text.len());
            self.notes.push(Note::Ignored(what));
        }
    }

    fn refuse_line(&mut self, path: &Path, line: usize, key: &str, why: String) {
        self.faults.push(EnvironmentError::Line { path: path.to_owned(), line, key: key.to_owned(), why });
    }

    /// Notes a broken line. It is a fault only if one of its names is ours and the process does not set that name.
    fn note_broken(&mut self, path: &Path, broken: &Broken, process: &Process) {
        let Broken { line, keys, why } = broken;
        if let Some(key) = keys.iter().find(|key| is_ours(key) && !process.contains_key(OsStr::new(key))) {
            self.refuse_line(path, *line, key, (*why).to_owned());
            return;
        }
        let name = keys.first().map_or(String::new(), |key| format!(" ({key})"));
        self.notes.push(Note::Ignored(format!("{} line {line}{name}: {why}; ignored", path.display())));
    }

    /// A variable that is set and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&Variable> {
        self.variables.get(name).filter(|variable| !variable.value.is_empty())
    }

    /// The variables with our own names.
    pub(crate) fn own(&self) -> impl Iterator<Item = (&str, &Variable)> {
        let own = self.variables.iter().filter(|(name, _)| name.starts_with(PREFIX));
        own.map(|(name, variable)| (name.as_str(), variable))
    }

    /// The faults in the order in which they were found.
    pub(crate) fn faults(&self) -> impl Iterator<Item = &EnvironmentError> {
        self.faults.iter()
    }

    /// Lines for the log, once there is one.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }
}

/// A value with its references replaced. The process's variables win over the lines above. Also returns the name of a referenced
/// variable that is not text, if there is one.
fn expand(value: &str, known: &BTreeMap<String, String>, process: &Process) -> (String, Option<String>) {
    let mut foreign = None;
    let value = expanded(value, |name| match process.get(OsStr::new(name)) {
        Some(value) => Some(value.to_str().map(str::to_owned).unwrap_or_else(|| {
            foreign = Some(name.to_owned());
            String::new()
        })),
        None => known.get(name).cloned(),
    });
    (value, foreign)
}

/// The text, and the lines that are not UTF-8.
fn decoded(bytes: &[u8]) -> (String, BTreeSet<usize>) {
    let (mut text, mut damaged) = (String::with_capacity(bytes.len()), BTreeSet::new());
    let mut line = 1;
    for chunk in bytes.utf8_chunks() {
        let valid = chunk.valid();
        // a line ends with \n, \r\n or \r
        line += valid.matches('\n').count() + valid.matches('\r').count() - valid.matches("\r\n").count();
        text.push_str(valid);
        if !chunk.invalid().is_empty() {
            damaged.insert(line);
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    (text, damaged)
}

enum Read {
    Text(Vec<u8>),
    Nothing,
    /// A directory, for instance: Python's virtual environments often have this name.
    NoFile,
}

fn unreadable(path: &Path, cause: impl Into<Cause>) -> EnvironmentError {
    let source = Remedy::new("let the user read it, or take it away", cause);
    EnvironmentError::Unreadable { path: path.to_owned(), source }
}

fn read(path: &Path) -> Result<Read, EnvironmentError> {
    let unreadable = |cause: Cause| unreadable(path, cause);
    let kind = match std::fs::metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Read::Nothing),
        Err(error) => return Err(unreadable(error.into())),
    };
    if !kind.is_file() && !kind.is_fifo() {
        return Ok(Read::NoFile);
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| unreadable(error.into()))?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| unreadable(error.into()))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(unreadable(
            format!("it has more than {FILE_BYTES_MAX} bytes, which no list of settings has").into(),
        ));
    }
    Ok(Read::Text(bytes))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;
    use crate::report::printed_once;

    fn with(file: &[u8], process: &[(&str, &[u8])]) -> Result<Environment, String> {
        let process = process.iter().map(|(name, value)| (name.into(), OsString::from_vec(value.to_vec()))).collect();
        let mut environment = Environment::of(&process);
        environment.add_file(Path::new("/x/.env"), file, &process);
        let faults: Vec<String> = environment.faults().map(|error| printed_once(error)).collect();
        if faults.is_empty() { Ok(environment) } else { Err(faults.join("\n")) }
    }

    #[test]
    fn the_real_environment_wins_and_each_variable_says_where_it_is_from() {
        let file = b"DB_HOST=file\nDB_PORT=1\nOTHER=x\nDB_USER=${OTHER}${DB_HOST}\nFOOTPRINT_A__B=c\nDB_NAME=";
        let environment = with(file, &[("DB_HOST", b"real"), ("OTHER", b"y")]).unwrap();
        let found = |name| environment.get(name).map(|variable| (variable.value().to_owned(), variable.line()));
        assert_eq!(found("DB_HOST"), Some(("real".into(), None)));
        assert_eq!(found("DB_PORT"), Some(("1".into(), Some(2))));
        assert_eq!(found("DB_USER"), Some(("yreal".into(), Some(4))));
        assert_eq!((found("OTHER"), found("DB_NAME")), (None, None));
        assert_eq!(environment.own().count(), 1);
    }

    #[test]
    fn what_is_not_ours_disturbs_nobody_and_what_is_ours_is_named_without_its_value() {
        let fine = with(b"my secret\nTITLE='It's\nA=\xff\n# \xe4\nDB_HOST=h", &[("X", b"\xff")]).unwrap();
        assert_eq!(fine.get("DB_HOST").unwrap().value(), "h");
        assert_eq!(fine.notes().len(), 4, "{:?}", fine.notes());
        for (file, message) in [
            (&b"A=b\nDB_PASSWORD='secret' s\n"[..], "/x/.env line 2 (DB_PASSWORD): something follows"),
            (b"DB_PASSWORD=secr\xe4t", "/x/.env line 1 (DB_PASSWORD): it is not UTF-8 text"),
            (b"T='a\nDB_PASSWORD='secret'", "/x/.env line 1 (DB_PASSWORD): something follows"),
            (b"DB_PASSWORD=${X}", "/x/.env line 1 (DB_PASSWORD): it refers to X, which is not UTF-8"),
            (b"A\0=\0s\0", "/x/.env: it is no UTF-8 text (UTF-16, perhaps)"),
        ] {
            let error = with(file, &[("X", b"secr\xff")]).unwrap_err();
            assert!(error.starts_with(message) && !error.contains("secr"), "{error}");
        }
        let several = b"DB_PORT='secret' s\nA='b' c\nDB_PASSWORD=secr\xe4t\nDB_HOST=h";
        let error = with(several, &[("DB_USER", b"secr\xff")]).unwrap_err();
        let lines: Vec<&str> = error.lines().map(|line| line.split(':').next().unwrap()).collect();
        let expected = [
            "the variable DB_USER is not UTF-8 text; set it again, in a shell that speaks UTF-8",
            "/x/.env line 1 (DB_PORT)",
            "/x/.env line 3 (DB_PASSWORD)",
        ];
        assert_eq!(lines, expected, "{error}");
        // the file would not have set it
        with(b"DB_PASSWORD='secret' s", &[("DB_PASSWORD", b"x")]).unwrap();
        let error = with(b"", &[("DB_PASSWORD", b"secr\xff")]).unwrap_err();
        assert!(error.contains("the variable DB_PASSWORD is not UTF-8") && !error.contains("secr"), "{error}");
        assert!(!format!("{:?}", with(b"DB_PASSWORD=secret", &[]).unwrap()).contains("secret"));
    }
}
