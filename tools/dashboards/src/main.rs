//! `cargo dashboards`: writes the files of `grafana/dashboards`.

use std::fs;

use anyhow::{Context as _, Result};

fn main() -> Result<()> {
    for file in footprint_dashboards::files()? {
        fs::write(&file.path, file.text).with_context(|| format!("write {}", file.path.display()))?;
    }
    Ok(())
}
