//! Where the downloads are stored between runs, and the lock that lets two processes set up at once.

use std::env;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::deadline::Deadline;
use crate::error::StackError;
use crate::spawner;

/// The directory that holds the unpacked servers and, under `run`, the data of running stacks.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Opens (creates) the cache: `$FOOTPRINT_CACHE`, otherwise `/var/cache/footprint` for root (the servers run as `nobody`, who
    /// cannot enter root's home), or `$XDG_CACHE_HOME/footprint`, or `~/.cache/footprint`.
    pub(crate) fn open() -> Result<Self, StackError> {
        let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = variable("FOOTPRINT_CACHE")
            .or_else(|| spawner::is_root().then(|| PathBuf::from("/var/cache/footprint")))
            .or_else(|| variable("XDG_CACHE_HOME").map(|directory| directory.join("footprint")))
            .or_else(|| variable("HOME").map(|directory| directory.join(".cache/footprint")))
            .ok_or(StackError::NoCache)?;
        let root = std::path::absolute(&root).map_err(StackError::file("find", &root))?;
        make_directory(&root)?;
        Ok(Self { root })
    }

    /// The path of `name` in the cache.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Holds the lock called `name` until the returned file is dropped or the process ends, however it ends.
    pub(crate) fn lock(&self, name: &str, limit: Duration) -> Result<File, StackError> {
        let path = self.path(name);
        let file = open_lock(&path)?;
        Deadline::after(limit).poll(&format!("waiting for another process's {}", path.display()), || {
            try_lock(&file, &path).map(|locked| locked.then_some(()))
        })?;
        Ok(file)
    }
}

/// Makes a directory with its parents that `nobody` may pass through, whatever the umask is.
pub(crate) fn make_directory(path: &Path) -> Result<(), StackError> {
    DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(StackError::file("create", path))
}

/// Opens (creates) a lock file. Children do not inherit the descriptor, so a lock never outlives this process.
pub(crate) fn open_lock(path: &Path) -> Result<File, StackError> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(StackError::file("open the lock", path))
}

/// Takes the lock if it is free.
pub(crate) fn try_lock(file: &File, path: &Path) -> Result<bool, StackError> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(source)) => Err(StackError::File { what: "lock", path: path.to_path_buf(), source }),
    }
}

/// Removes a directory tree. It is no error if there is none.
pub(crate) fn remove_tree(path: &Path) -> Result<(), StackError> {
    match fs::remove_dir_all(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(StackError::File { what: "remove", path: path.to_path_buf(), source })
        }
        _ => Ok(()),
    }
}
