//! The directory with one stack's data: a temporary one, or one that the caller names and keeps.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::cache::{Cache, make_directory, open_lock, remove_tree, try_lock};
use crate::error::StackError;
use crate::spawner;

/// How long to wait for the sweep lock while another process removes the data of dead stacks.
const SWEEP_LOCK_LIMIT: Duration = Duration::from_secs(60);

/// A directory locked for this process. A temporary one is removed on drop.
#[derive(Debug)]
pub(crate) struct RunDir {
    path: PathBuf,
    temporary: bool,
    _lock: File,
}

impl RunDir {
    /// A new directory in the cache. First removes the directories of dead processes: their locks are free.
    pub(crate) fn temporary(cache: &Cache) -> Result<Self, StackError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let all = cache.path("run");
        make_directory(&all)?;
        // Held while a directory exists without its lock, so that no sweeper takes it for a dead one.
        let _sweeping = cache.lock("run.lock", SWEEP_LOCK_LIMIT)?;
        sweep(&all)?;
        let name = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self::open(all.join(name), true)
    }

    /// The directory `path`. It is created if needed, and kept at the end.
    pub(crate) fn kept(path: &Path) -> Result<Self, StackError> {
        let path = std::path::absolute(path).map_err(StackError::file("find", path))?;
        Self::open(path, false)
    }

    fn open(path: PathBuf, temporary: bool) -> Result<Self, StackError> {
        make_directory(&path)?;
        let lock_path = path.join("lock");
        let lock = open_lock(&lock_path)?;
        if !try_lock(&lock, &lock_path)? {
            return Err(StackError::Busy { path });
        }
        Ok(Self { path, temporary, _lock: lock })
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.path
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A directory for one server, owned by the account that the servers run as.
    pub(crate) fn server(&self, name: &str) -> Result<PathBuf, StackError> {
        let path = self.path(name);
        check_reachable(&self.path)?;
        make_directory(&path)?;
        spawner::give_to_server_user(&path).map_err(StackError::file("give to the server's user", &path))?;
        Ok(path)
    }
}

/// The place of a server's small disk: an empty directory below the server's own.
pub(crate) fn small_disk(server: &Path) -> Result<PathBuf, StackError> {
    let path = server.join("small");
    make_directory(&path)?;
    Ok(path)
}

impl Drop for RunDir {
    fn drop(&mut self) {
        if self.temporary {
            // The next stack removes what cannot be removed now.
            let _ = remove_tree(&self.path);
        }
    }
}

/// For root the servers run as `nobody`, who must be able to pass every directory down to the data.
fn check_reachable(path: &Path) -> Result<(), StackError> {
    if !spawner::is_root() {
        return Ok(());
    }
    for directory in path.ancestors() {
        let metadata = fs::metadata(directory).map_err(StackError::file("look at", directory))?;
        if metadata.permissions().mode() & 0o001 == 0 {
            return Err(StackError::Unreachable { path: directory.to_path_buf() });
        }
    }
    Ok(())
}

fn sweep(all: &Path) -> Result<(), StackError> {
    let listing = fs::read_dir(all).map_err(StackError::file("read", all))?;
    for entry in listing.flatten() {
        let lock_path = entry.path().join("lock");
        let Ok(lock) = open_lock(&lock_path) else { continue };
        if try_lock(&lock, &lock_path)? {
            remove_tree(&entry.path())?;
        }
    }
    Ok(())
}
