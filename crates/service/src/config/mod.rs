//! The configuration: its layers, the weakest first, and its checks. config/footprint.toml documents the settings. It is compiled
//! in as the default. All faults are reported at once. Each names the setting and its file and line, variable or flag. It never
//! shows a value, which may be a secret in the wrong place.

mod checks;
mod described;
mod document;
mod fault;
mod kafka_properties;
mod nearest;
mod schema;
mod settings;
mod shown;
mod tree;
mod typed;

use std::fmt;
use std::io::Read as _;
use std::path::Path as File;

use footprint_event::route::Route;
use serde::Deserialize;

pub use self::settings::{
    Audit, ClickHouse, Compression, GroupProtocol, Kafka, LogFormat, OffsetReset, Pipeline, Postgres, Properties,
    Telemetry, Tls,
};

pub use self::shown::Shown;

use self::fault::{Fault, Origin};
use self::nearest::nearest;
use self::tree::{Node, Path, Step};
use self::typed::{Kind, Refusal};
use crate::environment::{Environment, OLD_NAMES, PREFIX, TOPIC};
use crate::report::Chain;

/// The shipped configuration.
const DEFAULT: &str = include_str!("../../../../config/footprint.toml");
/// Bytes of a configuration file, at most. A larger file is not one.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Typing errors in the name of a variable of which somebody is told.
const MISSPELT_LETTERS_MAX: usize = 2;

/// All settings, checked.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The broker and the consumer group.
    pub kafka: Kafka,
    /// PostgreSQL.
    pub postgres: Postgres,
    /// ClickHouse.
    pub clickhouse: ClickHouse,
    /// Batches and bounds.
    pub pipeline: Pipeline,
    /// The proof while `run` works.
    pub audit: Audit,
    /// Logs and metrics.
    pub telemetry: Telemetry,
    /// How each topic's events become rows.
    pub routes: Vec<Route>,
}

/// Why there is no configuration: every fault that was found, one a line.
#[derive(Debug)]
pub struct ConfigError(Vec<Fault>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut faults = self.0.iter();
        faults.next().map_or(Ok(()), |first| write!(f, "{first}"))?;
        faults.try_for_each(|fault| write!(f, "\n{fault}"))
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Every secret that it holds. They are for those who must take them out of a text.
    pub fn secrets(&self) -> Vec<&str> {
        let properties = self.kafka.properties.iter().filter(|(name, _)| kafka_properties::is_secret(name));
        let mut secrets: Vec<&str> = properties.map(|(_, value)| value.as_str()).collect();
        secrets.extend([self.postgres.password.reveal(), self.clickhouse.password.reveal()]);
        secrets.retain(|secret| !secret.is_empty());
        secrets
    }

    /// Reads the configuration without any `.env`: the shipped one, then `file`, the process's environment, and `flags` as dotted
    /// keys and values.
    ///
    /// # Errors
    /// The same as those of [`Self::load_with`].
    pub fn load(file: Option<&File>, flags: &[(&str, String)]) -> Result<Self, ConfigError> {
        Self::load_with(file, &Environment::of_process(), flags)
    }

    /// Reads the configuration: the shipped one, then `file`, the environment, and `flags` as dotted keys and values.
    ///
    /// # Errors
    /// All faults that there are: a missing file, a variable that cannot be read, an unknown key, a value of the wrong type,
    /// settings that conflict.
    pub fn load_with(
        file: Option<&File>,
        environment: &Environment,
        flags: &[(&str, String)],
    ) -> Result<Self, ConfigError> {
        Self::load_shown(file, environment, flags).map(|(config, _)| config)
    }

    /// The same, and each setting with the place that it comes from.
    ///
    /// # Errors
    /// The same as those of [`Self::load_with`].
    pub fn load_shown(
        file: Option<&File>,
        environment: &Environment,
        flags: &[(&str, String)],
    ) -> Result<(Self, Shown), ConfigError> {
        let shipped = document::parse(DEFAULT, None).map_err(ConfigError)?;
        let of_environment = |text: String| Fault { origin: Origin::Shipped, text };
        let mut faults: Vec<Fault> =
            environment.faults().map(|fault| of_environment(Chain(fault).to_string())).collect();
        let mut tree = shipped.clone();
        let mut is_whole = true;
        match file.map(from_file) {
            None => {}
            Some(Ok(layer)) => lay(&mut tree, layer, &mut faults),
            Some(Err(others)) => {
                is_whole = false;
                faults.extend(others);
            }
        }
        lay(&mut tree, from_environment(environment), &mut faults);
        set_topic(&mut tree, environment);
        for (key, value) in flags {
            let origin = Origin::Flag(format!("--{}", key.rsplit('.').next().unwrap_or(key).replace('_', "-")));
            lay(&mut tree, Node::setting(key, value, &origin), &mut faults);
        }
        let (config, mut refusals) = typed::read::<Self>(&tree, &shipped);
        // the rest of a value is refused too after its faulty part was removed; that is no separate fault
        let inner: Vec<Path> = refusals.iter().map(|refusal| refusal.path.clone()).collect();
        refusals.retain(|Refusal { path, kind }| {
            matches!(kind, Kind::Missing(_)) || !inner.iter().any(|inner| inner != path && inner.is_in(path))
        });
        faults.extend(refusals.iter().map(|refusal| spelled(refusal, &tree, &shipped)));
        // if a part of the file could not be read, conflicts between settings cannot be judged
        if let Some(mut config) = config {
            if is_whole {
                let broken = refusals.into_iter().map(|refusal| refusal.path).collect();
                faults.extend(checks::check(&mut config, &tree, broken));
            }
            if faults.is_empty() {
                let shown = Shown::of(&config, &tree);
                return Ok((config, shown));
            }
        }
        faults.sort();
        Err(ConfigError(faults))
    }
}

/// The configuration as a JSON schema.
///
/// # Errors
/// Never: the shipped configuration is compiled in, and a test reads it.
pub fn schema() -> Result<serde_json::Value, ConfigError> {
    document::parse(DEFAULT, None).map(|shipped| schema::schema(&shipped)).map_err(ConfigError)
}

/// The variables whose names look like a setting's and are none, each with the name that is perhaps meant. They are no fault:
/// Kubernetes sets `FOOTPRINT_POSTGRES_PORT` in every container if there is a service of that name.
pub fn misspelt(environment: &Environment) -> Vec<String> {
    let names: Vec<String> = described::SETTINGS.iter().map(|setting| variable_of(setting.key)).collect();
    let foreign = environment.own().map(|(name, _)| name).filter(|name| setting_of(name).is_none());
    let near = foreign.filter_map(|name| {
        let meant = nearest::within(name, names.iter().map(String::as_str), MISSPELT_LETTERS_MAX)?;
        Some(format!("the variable {name} is no setting and has no effect; did you mean {meant}?"))
    });
    near.collect()
}

/// The variable that sets a setting.
fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_uppercase())
}

/// The setting that a variable sets. None: the variable belongs to another program.
fn setting_of(name: &str) -> Option<String> {
    let key = name.strip_prefix(PREFIX).filter(|key| key.contains("__"))?;
    Some(key.to_lowercase().replace("__", "."))
}

/// Reads the file of `--config`.
fn from_file(path: &File) -> Result<Node, Vec<Fault>> {
    let broken = |text: String| vec![Fault { origin: Origin::Shipped, text }];
    if !path.is_file() {
        return Err(broken(format!("there is no configuration file {}", path.display())));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| broken(format!("{}: it cannot be read: {error}", path.display())))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(broken(format!("{}: it is larger than {FILE_BYTES_MAX} bytes", path.display())));
    }
    let text = String::from_utf8(bytes).map_err(|_| broken(format!("{}: it is not UTF-8", path.display())))?;
    document::parse(&text, Some(path))
}

/// The layer of the environment: the old names, and our own names, which win.
fn from_environment(environment: &Environment) -> Node {
    let mut layer = Node::table(Origin::Shipped);
    for (name, key) in OLD_NAMES {
        if let Some(variable) = environment.get(name) {
            layer.lay(Node::setting(key, variable.value(), &Origin::Variable(name.to_owned(), variable.line())));
        }
    }
    for (name, variable) in environment.own() {
        let Some(key) = setting_of(name) else { continue };
        layer.lay(Node::setting(&key, variable.value(), &Origin::Variable(name.to_owned(), variable.line())));
    }
    layer
}

/// Lays a layer on the others. First brings properties to one spelling, so that the stronger layer wins whichever spelling is
/// used.
fn lay(tree: &mut Node, mut layer: Node, faults: &mut Vec<Fault>) {
    if let Some(properties) = layer.find_mut(&Path::of("kafka.properties")) {
        faults.extend(properties.flatten().into_iter().map(|(name, origin)| checks::twice(&name, origin)));
    }
    tree.lay(layer);
}

/// `TOPIC` is the first route's topic.
fn set_topic(tree: &mut Node, environment: &Environment) {
    let route = Path(vec![Step::Key("routes".into()), Step::Index(0)]);
    if let Some(variable) = environment.get(TOPIC)
        && let Some(route) = tree.find_mut(&route)
    {
        let origin = route.origin.clone();
        route.lay(Node::setting("topic", variable.value(), &Origin::Variable(TOPIC.to_owned(), variable.line())));
        route.origin = origin;
    }
}

/// The fault for a refused setting.
fn spelled(refusal: &Refusal, tree: &Node, shipped: &Node) -> Fault {
    let Refusal { path, kind } = refusal;
    let mut text = format!("setting {path}: {refusal}");
    if let (Kind::Unknown(known), Some((outer, Step::Key(name)))) = (kind, path.split_last()) {
        text.push_str(&match meant(&outer, name, known, shipped) {
            Some(key) => format!("; did you mean {}?", named(&key.to_string(), &tree.origin_of(path))),
            None => format!("; known are {}", known.join(", ")),
        });
    }
    Fault { origin: tree.origin_of(path), text }
}

/// The name of the setting that is meant, as whoever set it would spell it.
fn named(key: &str, origin: &Origin) -> String {
    let Origin::Variable(variable, _) = origin else { return key.to_owned() };
    let mut names = described::SETTINGS.iter().map(|setting| variable_of(setting.key));
    let own = variable_of(key);
    // the name of a section alone sets nothing
    let near = |name: &String| nearest::within(variable, [name.as_str()], MISSPELT_LETTERS_MAX).is_some();
    names.clone().find(|name| *name == own).or_else(|| names.find(near)).unwrap_or_else(|| key.to_owned())
}

/// The known key that is nearest to a misspelt one: in its own table, or with the same name in another section.
fn meant(outer: &Path, name: &str, known: &[&str], shipped: &Node) -> Option<Path> {
    let below = |outer: &Path, key: &str| Path([outer.0.clone(), vec![Step::Key(key.to_owned())]].concat());
    if let Some(key) = nearest(name, known.iter().copied()) {
        return Some(below(outer, key));
    }
    shipped.keys().map(|section| below(&Path::of(section), name)).find(|path| shipped.find(path).is_some())
}

#[cfg(test)]
mod tests;
