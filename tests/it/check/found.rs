//! What `footprint check --json` finds.

use std::process::{Command, Output};

use footprint_service::config::Config;
use serde_json::Value;

use crate::support::databases::{Databases, told_by_environment};

/// The document, and the exit status that belongs to it.
pub struct Found(Value);

/// One finding.
#[derive(Debug)]
pub struct Finding {
    pub component: String,
    pub route: Option<String>,
    pub text: String,
    pub remedy: String,
}

/// What is broken, how, why `check` then says that nobody answers, and what to do.
pub type Case = (&'static str, fn(&mut Databases), &'static str, &'static str);

/// Runs `check`, configured only by the environment.
pub fn check(config: &Config) -> Found {
    found(told_by_environment(config, "check").arg("--json"))
}

/// Runs a command that is `check --json`.
pub fn found(command: &mut Command) -> Found {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let said = || format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    let document: Value = serde_json::from_slice(&stdout).unwrap_or_else(|error| panic!("{error}: {}", said()));
    let found = Found(document);
    for (counted, status) in [("ok", "ok"), ("notes", "note"), ("faults", "fault")] {
        assert_eq!(found.0[counted], found.ids(status).len(), "{}", said());
    }
    assert_eq!(status.code(), Some(if found.ids("fault").is_empty() { 0 } else { 3 }), "{}", said());
    found
}

impl Found {
    fn findings(&self) -> &Vec<Value> {
        self.0["findings"].as_array().unwrap()
    }

    /// The names of all findings with this status, in their order.
    pub fn ids(&self, status: &str) -> Vec<&str> {
        let of_status = self.findings().iter().filter(|finding| finding["status"] == status);
        of_status.map(|finding| finding["id"].as_str().unwrap()).collect()
    }

    /// The only finding of this name and status.
    fn only(&self, id: &str, status: &str) -> Finding {
        let of_name = self.findings().iter().filter(|finding| finding["id"] == id && finding["status"] == status);
        let found: Vec<&Value> = of_name.collect();
        assert_eq!(found.len(), 1, "{id}: {:#}", self.0);
        let text = |key: &str| found[0][key].as_str().map(str::to_owned);
        let finding = Finding {
            component: text("component").unwrap(),
            route: text("route"),
            text: text("text").unwrap(),
            remedy: text("remedy").unwrap(),
        };
        assert!(!finding.text.contains('\n') && !finding.remedy.contains('\n'), "one line: {finding:?}");
        assert!(status == "ok" || !finding.remedy.is_empty(), "nobody knows what to do: {finding:?}");
        finding
    }

    pub fn fault(&self, id: &str) -> Finding {
        self.only(id, "fault")
    }

    pub fn note(&self, id: &str) -> Finding {
        self.only(id, "note")
    }

    pub fn ok(&self, id: &str) -> Finding {
        self.only(id, "ok")
    }

    /// There is no fault.
    pub fn is_clean(&self) {
        assert!(self.ids("fault").is_empty(), "{:#}", self.0);
    }
}

impl Finding {
    /// The statement or command of the remedy.
    pub fn to_run(&self) -> &str {
        self.remedy.split_once("run: ").unwrap_or_else(|| panic!("nothing to paste in {self:?}")).1
    }
}
