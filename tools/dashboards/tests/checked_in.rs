//! The files that are checked in are those that the description gives.

use std::error::Error;
use std::fs;

#[test]
fn the_checked_in_dashboards_are_what_the_description_gives() -> Result<(), Box<dyn Error>> {
    let files = footprint_dashboards::files()?;
    for file in &files {
        let checked_in = fs::read_to_string(&file.path)?;
        assert!(checked_in == file.text, "{} is stale: run `cargo dashboards`", file.path.display());
    }
    let folder = files.first().and_then(|file| file.path.parent()).ok_or("no dashboard")?;
    let names = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, std::io::Error>>()?;
    for name in names.iter().filter(|name| name.extension().is_some_and(|extension| extension == "json")) {
        let is_made = files.iter().any(|file| file.path.file_name() == name.file_name());
        assert!(is_made, "{} is in no description", name.display());
    }
    Ok(())
}
