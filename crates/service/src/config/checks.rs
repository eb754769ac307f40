//! Checks settings beyond their types, alone and together. Reports every fault, each with the place of its setting. A setting
//! that has a fault already is not checked again.

use std::path::Path as File;

use super::Config;
use super::described::{SETTINGS, Type};
use super::fault::{Fault, Origin};
use super::kafka_properties;
use super::settings::{GroupProtocol, Tls};
use super::tree::{Node, Path, Step};
use crate::log_filter;
use crate::report::Chain;
use crate::secret;
use crate::tls::{self, Files};

/// The settings as they were given, and the faults found so far.
pub(super) struct Checks<'a> {
    tree: &'a Node,
    /// Settings that have a fault.
    broken: Vec<Path>,
    faults: Vec<Fault>,
}

/// Checks all settings, and replaces some by their canonical form.
pub(super) fn check(config: &mut Config, tree: &Node, broken: Vec<Path>) -> Vec<Fault> {
    let mut checks = Checks { tree, broken, faults: Vec::new() };
    checks.telemetry(config);
    checks.routes(config);
    checks.bounds();
    checks.share(config);
    if !config.postgres.enabled && !config.clickhouse.enabled {
        checks.refuse_of("clickhouse.enabled", &["postgres.enabled"], || {
            "both sinks are switched off; enable postgres or clickhouse".into()
        });
    }
    checks.kafka(config);
    checks.password("postgres", &mut config.postgres.password, &config.postgres.password_file);
    checks.password("clickhouse", &mut config.clickhouse.password, &config.clickhouse.password_file);
    checks.tls(config.postgres.tls, config.postgres.tls_files());
    checks.tls(config.clickhouse.tls, config.clickhouse.tls_files());
    checks.faults
}

impl Checks<'_> {
    fn is_sound(&self, path: &Path) -> bool {
        !self.broken.iter().any(|broken| broken.is_in(path) || path.is_in(broken))
    }

    /// Adds a fault of one setting. Its text begins with the key. A default that took the place of a refused value has no fault.
    fn refuse(&mut self, key: &str, why: impl std::fmt::Display) {
        self.refuse_of(key, &[], || format!("{key} {why}"));
    }

    /// Adds a fault of a setting that conflicts with others. If one of those has a fault of its own, it adds none.
    fn refuse_of(&mut self, key: &str, others: &[&str], text: impl FnOnce() -> String) {
        if others.iter().all(|other| self.is_sound(&Path::of(other))) {
            self.faults.push(Fault { origin: self.tree.origin_of(&Path::of(key)), text: text() });
        }
    }

    fn telemetry(&mut self, config: &mut Config) {
        match log_filter::canonical(&config.telemetry.log) {
            Ok(filter) => config.telemetry.log = filter,
            Err(why) => self.refuse("telemetry.log", format_args!("is wrong: {why}")),
        }
    }

    /// Checks each whole number against its bounds. One that its type refused has a fault already.
    fn bounds(&mut self) {
        for setting in SETTINGS {
            let Type::Whole { min, max } = setting.kind else { continue };
            let path = Path::of(setting.key);
            let number = self.tree.find(&path).and_then(Node::whole_number);
            let is_in = number.is_none_or(|number| (i128::from(min)..=i128::from(max)).contains(&number));
            if !is_in && self.is_sound(&path) {
                self.refuse(setting.key, format_args!("must be {min} to {max}"));
            }
        }
    }

    fn share(&mut self, config: &Config) {
        if !(0.0..=1.0).contains(&config.pipeline.refused_rows_share_max) {
            self.refuse("pipeline.refused_rows_share_max", "must be 0 to 1");
        }
    }

    fn routes(&mut self, config: &mut Config) {
        let routes = Path::of("routes");
        if config.routes.is_empty() {
            self.refuse_of("routes", &[], || "no [[routes]]: say how a topic's events become rows".into());
        }
        let place = |index| Path([routes.0.clone(), vec![Step::Index(index)]].concat());
        for (index, route) in config.routes.iter_mut().enumerate() {
            route.fill();
            if !self.is_sound(&place(index)) {
                continue;
            }
            for fault in route.faults() {
                let mut path = place(index);
                path.0.extend(fault.setting.split('.').map(|step| match step.parse() {
                    Ok(index) => Step::Index(index),
                    Err(_) => Step::Key(step.to_owned()),
                }));
                self.faults.push(Fault { origin: self.tree.origin_of(&path), text: fault.error.to_string() });
            }
        }
        for (index, route) in config.routes.iter().enumerate() {
            let other = config.routes[..index].iter().position(|other| {
                route.name == other.name
                    || route.topic == other.topic
                    || route.postgres_table == other.postgres_table
                    || route.clickhouse_table == other.clickhouse_table
            });
            if let Some(other) = other.filter(|&other| self.is_sound(&place(index)) && self.is_sound(&place(other))) {
                let (origin, other) = (self.tree.origin_of(&place(index)), &config.routes[other]);
                let text = format!(
                    "routes {} and {} share a name, a topic or a table; each needs its own",
                    other.name, route.name
                );
                self.faults.push(Fault { origin, text });
            }
        }
    }

    /// Checks for properties that would break footprint's promises, or that the group protocol refuses.
    fn kafka(&mut self, config: &Config) {
        let properties = &config.kafka.properties;
        for (name, why) in kafka_properties::refused(properties) {
            self.property(name, &why);
        }
        if config.kafka.group_protocol == GroupProtocol::Consumer {
            for name in ["heartbeat.interval.ms", "partition.assignment.strategy"] {
                if properties.contains_key(name) {
                    self.property(name, "is the broker's under kafka.group_protocol = \"consumer\"; take it out");
                }
            }
        } else if properties.get("partition.assignment.strategy").is_some_and(|name| name != "cooperative-sticky") {
            self.property(
                "partition.assignment.strategy",
                "must be cooperative-sticky: an eager one takes every partition from every consumer at each change",
            );
        }
    }

    fn property(&mut self, name: &str, why: &str) {
        let mut path = Path::of("kafka.properties");
        path.0.push(Step::Key(name.to_owned()));
        let text = format!("kafka.properties: {name} {why}");
        self.faults.push(Fault { origin: self.tree.origin_of(&path), text });
    }

    fn password(&mut self, section: &'static str, password: &mut secret::Secret, file: &File) {
        if let Err(error) = secret::fill(section, password, file) {
            let other = format!("{section}.password");
            self.refuse_of(&format!("{section}.password_file"), &[&other], || Chain(&error).to_string());
        }
    }

    /// Refuses a plain connection if certificates are given for it.
    fn tls(&mut self, tls: Tls, files: Files<'_>) {
        let is_set = |path: &File| !path.as_os_str().is_empty();
        let section = files.section;
        let [switch, ca, cert, key] =
            ["tls", "ca_file", "cert_file", "key_file"].map(|name| format!("{section}.{name}"));
        let all = [switch.as_str(), &ca, &cert, &key];
        if is_set(files.cert_file) != is_set(files.key_file) {
            let given = if is_set(files.cert_file) { &cert } else { &key };
            self.refuse_of(given, &all, || format!("{cert} and {key} belong together; set both"));
        } else if tls == Tls::On {
            if let Err(error) = tls::client_config(files) {
                self.refuse_of(&format!("{section}.{}", error.setting()), &all, || Chain(&error).to_string());
            }
        } else if is_set(files.ca_file) || is_set(files.cert_file) {
            let given = if is_set(files.ca_file) { &ca } else { &cert };
            self.refuse_of(given, &all, || {
                format!("{ca} or cert_file is set, and {switch} is off: set {switch} = \"on\", or take the files out")
            });
        }
    }
}

/// A property that one layer sets twice.
pub(super) fn twice(name: &str, origin: Origin) -> Fault {
    Fault { origin, text: format!("kafka.properties: {name} is set twice, as nested keys and as one; take one out") }
}
