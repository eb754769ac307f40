//! LOG_DIR/consumer.log: appended line by line, and rotated by size and age. Old files are consumer.log.1 (the newest),
//! consumer.log.2 and so on, up to a number. A file that another program moved or deleted (logrotate) is opened again with the next
//! line. Several processes may share one file. Created for its owner alone; the folder stays as it is.
//!
//! A line that cannot be written is lost and counted, and the log says so on standard error. Nothing here ends the program: it runs
//! on the log's own thread, and only the log waits for a slow disk.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tracing::{info, warn};

/// The file's name in its folder.
const NAME: &str = "consumer.log";
/// Its mode: it may name topics, hosts and files.
const MODE: u32 = 0o600;

/// When a file is rotated, and how many old ones are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) bytes: u64,
    pub(super) age: Duration,
    pub(super) old_files: usize,
}

/// The file. It is opened with the first line.
pub(super) struct LogFile {
    path: PathBuf,
    limits: Limits,
    open: Option<Open>,
    /// Lines that could not be written since the last one that was.
    lost: u64,
    /// A part of a line was perhaps written.
    is_torn: bool,
}

struct Open {
    file: File,
    place: Place,
    bytes: u64,
    /// When the file was created.
    born: SystemTime,
    /// Bytes above which it is rotated. A rotation that failed is tried again much later.
    bytes_max: u64,
}

/// Which file it is, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    device: u64,
    inode: u64,
}

impl Place {
    fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

impl LogFile {
    pub(super) fn new(directory: &Path, limits: Limits) -> Self {
        Self { path: directory.join(NAME), limits, open: None, lost: 0, is_torn: false }
    }

    /// Writes one line. Never fails, so that the log's thread goes on.
    fn take(&mut self, line: &[u8]) {
        match self.store(line, SystemTime::now()) {
            Ok(()) => {
                let lost = std::mem::take(&mut self.lost);
                if lost > 0 {
                    info!(
                        lines = lost,
                        "{} is written again; these lines are only on standard error",
                        self.path.display()
                    );
                }
            }
            Err(error) => {
                self.open = None;
                self.lost += 1;
                // once, until a line is written again: the warning is a line too
                if self.lost == 1 {
                    let path = self.path.display();
                    warn!("{path} cannot be written: {error}; lines are only on standard error until it can");
                }
            }
        }
    }

    fn store(&mut self, line: &[u8], now: SystemTime) -> io::Result<()> {
        self.follow(now)?;
        if self.is_due(line.len(), now) {
            self.rotate(now)?;
        }
        let Some(open) = &mut self.open else { return Err(io::ErrorKind::NotFound.into()) };
        if self.is_torn {
            open.file.write_all(b"\n")?;
        }
        self.is_torn = true;
        open.file.write_all(line)?;
        self.is_torn = false;
        Ok(())
    }

    /// Opens the file, if it is not open or if its name means another file now.
    fn follow(&mut self, now: SystemTime) -> io::Result<()> {
        let found = match fs::metadata(&self.path) {
            Ok(metadata) => Some(metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if let (Some(metadata), Some(open)) = (&found, &mut self.open)
            && Place::of(metadata) == open.place
        {
            open.bytes = metadata.len();
            return Ok(());
        }
        if let Some(directory) = self.path.parent() {
            fs::create_dir_all(directory)?;
        }
        let file = OpenOptions::new().create(true).append(true).mode(MODE).open(&self.path)?;
        let metadata = file.metadata()?;
        let born = if found.is_none() { now } else { metadata.created().or(metadata.modified()).unwrap_or(now) };
        let (place, bytes, bytes_max) = (Place::of(&metadata), metadata.len(), self.limits.bytes);
        self.open = Some(Open { file, place, bytes, born, bytes_max });
        Ok(())
    }

    /// Whether the file is rotated before `more` bytes are written. An empty file never is.
    fn is_due(&self, more: usize, now: SystemTime) -> bool {
        let Some(open) = &self.open else { return false };
        let age = now.duration_since(open.born).unwrap_or_default();
        open.bytes > 0 && (open.bytes + more as u64 > open.bytes_max || age >= self.limits.age)
    }

    /// Renames the file and opens a new one.
    fn rotate(&mut self, now: SystemTime) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        // of the processes that share a file, the one that locks it renames it
        if open.file.try_lock().is_err() {
            return Ok(());
        }
        // a pipe or a link is not ours to rename, and another process may have renamed the file just before
        let is_ours =
            fs::symlink_metadata(&self.path).is_ok_and(|named| named.is_file() && Place::of(&named) == open.place);
        if !is_ours {
            return open.file.unlock();
        }
        let renamed = self.shift();
        if let Err(error) = renamed {
            warn!("{} cannot be rotated: {error}; it grows until it can", self.path.display());
            if let Some(open) = &mut self.open {
                open.bytes_max = open.bytes + self.limits.bytes;
                open.born = now;
                open.file.unlock()?;
            }
            return Ok(());
        }
        // closing the old file releases its lock
        self.open = None;
        self.follow(now)
    }

    /// Gives each old file the next number, and this one number 1. What is beyond the last number is deleted.
    fn shift(&self) -> io::Result<()> {
        let last = self.limits.old_files;
        // more than one only after the number was made smaller
        let beyond = (last + 1..).take_while(|&number| fs::remove_file(self.old(number)).is_ok());
        let _ = beyond.count();
        for number in (1..last).rev() {
            match fs::rename(self.old(number), self.old(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, self.old(1))
    }

    fn old(&self, number: usize) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

impl Write for LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.take(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const LIMITS: Limits = Limits { bytes: 1_000, age: Duration::from_secs(3_600), old_files: 3 };

    /// An empty folder, deleted at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let name = format!("footprint-log-{}-{:x}", std::process::id(), rand::random::<u64>());
            let folder = std::env::temp_dir().join(name);
            fs::create_dir(&folder).unwrap();
            Self(folder)
        }

        fn log(&self, limits: Limits) -> LogFile {
            LogFile::new(&self.0, limits)
        }

        /// The lines of one file: 0 is consumer.log.
        fn lines(&self, number: usize) -> Vec<String> {
            let name = if number == 0 { NAME.to_owned() } else { format!("{NAME}.{number}") };
            fs::read_to_string(self.0.join(name)).unwrap_or_default().lines().map(str::to_owned).collect()
        }

        fn files(&self) -> usize {
            fs::read_dir(&self.0).unwrap().count()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// Writes these numbers, one a line of 16 bytes.
    fn write(log: &mut LogFile, numbers: std::ops::Range<usize>) {
        for number in numbers {
            log.write_all(format!("{number:015}\n").as_bytes()).unwrap();
        }
    }

    fn numbers(lines: impl IntoIterator<Item = String>) -> Vec<usize> {
        lines.into_iter().map(|line| line.parse().unwrap()).collect()
    }

    #[test]
    fn every_line_is_in_one_file_and_old_files_have_a_bound() {
        let folder = Folder::new();
        let mut log = folder.log(LIMITS);
        // 62 lines of 16 bytes fit into a file; four files hold 248
        write(&mut log, 0..240);
        let all = (0..4).rev().flat_map(|number| folder.lines(number));
        assert_eq!(numbers(all), (0..240).collect::<Vec<_>>());
        assert!((0..4).all(|number| folder.lines(number).len() <= 62));
        write(&mut log, 240..2_000);
        assert_eq!(folder.files(), 4);
        let all = numbers((0..4).rev().flat_map(|number| folder.lines(number)));
        assert_eq!(all, (all[0]..2_000).collect::<Vec<_>>(), "the oldest are gone, the others are there once");
        // after a restart with a smaller number
        let mut log = folder.log(Limits { old_files: 1, ..LIMITS });
        write(&mut log, 0..100);
        assert_eq!(folder.files(), 2);
    }

    #[test]
    fn processes_that_share_a_file_lose_no_line_when_one_rotates() {
        let folder = Folder::new();
        let limits = Limits { old_files: 50, ..LIMITS };
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let mut log = folder.log(limits);
                std::thread::spawn(move || write(&mut log, writer * 500..(writer + 1) * 500))
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        let mut all = numbers((0..=50).flat_map(|number| folder.lines(number)));
        all.sort_unstable();
        assert_eq!(all, (0..2_000).collect::<Vec<_>>());
        assert!(folder.files() > 3, "{}", folder.files());
    }

    #[test]
    fn an_old_file_is_rotated_whatever_its_size() {
        let folder = Folder::new();
        let mut log = folder.log(LIMITS);
        let now = SystemTime::now();
        log.store(b"one\n", now).unwrap();
        log.store(b"two\n", now + LIMITS.age / 2).unwrap();
        log.store(b"three\n", now + LIMITS.age).unwrap();
        log.store(b"four\n", now + LIMITS.age).unwrap();
        assert_eq!(
            (folder.lines(1), folder.lines(0)),
            (vec!["one".into(), "two".into()], vec!["three".into(), "four".into()])
        );
    }

    #[test]
    fn a_file_that_was_moved_or_deleted_is_opened_again() {
        let folder = Folder::new();
        let mut log = folder.log(LIMITS);
        write(&mut log, 0..3);
        fs::rename(folder.0.join(NAME), folder.0.join("moved")).unwrap();
        write(&mut log, 3..5);
        assert_eq!(numbers(folder.lines(0)), [3, 4]);
        assert_eq!(fs::read_to_string(folder.0.join("moved")).unwrap().lines().count(), 3);
        fs::remove_dir_all(&folder.0).unwrap();
        write(&mut log, 5..6);
        assert_eq!(numbers(folder.lines(0)), [5]);
    }

    #[test]
    fn it_is_its_owners_alone_and_the_folder_stays_as_it_is() {
        let folder = Folder::new();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o755)).unwrap();
        write(&mut folder.log(LIMITS), 0..100);
        for name in ["consumer.log", "consumer.log.1"] {
            assert_eq!(mode(&folder.0.join(name)), 0o600, "{name}");
        }
        assert_eq!(mode(&folder.0), 0o755);
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_the_next_ones_are_written() {
        let folder = Folder::new();
        let mut log = folder.log(LIMITS);
        // a full disk: the device is no regular file, so nothing renames it
        std::os::unix::fs::symlink("/dev/full", folder.0.join(NAME)).unwrap();
        write(&mut log, 0..5);
        assert_eq!(log.lost, 5);
        fs::remove_file(folder.0.join(NAME)).unwrap();
        fs::create_dir(folder.0.join(NAME)).unwrap();
        write(&mut log, 5..7);
        assert_eq!(log.lost, 7);
        fs::remove_dir(folder.0.join(NAME)).unwrap();
        write(&mut log, 7..9);
        assert_eq!(log.lost, 0);
        let written: Vec<_> = folder.lines(0).into_iter().filter(|line| !line.is_empty()).collect();
        assert_eq!(numbers(written), [7, 8]);
    }

    #[test]
    fn a_rotation_that_fails_loses_no_line() {
        let folder = Folder::new();
        // a folder with files in it is in the way
        let in_the_way = folder.0.join("consumer.log.1");
        fs::create_dir_all(in_the_way.join("x")).unwrap();
        let mut log = folder.log(Limits { old_files: 1, ..LIMITS });
        write(&mut log, 0..300);
        assert_eq!(numbers(folder.lines(0)), (0..300).collect::<Vec<_>>());
        fs::remove_dir_all(in_the_way).unwrap();
        write(&mut log, 300..600);
        let all = numbers([1, 0].into_iter().flat_map(|number| folder.lines(number)));
        assert_eq!(all, (all[0]..600).collect::<Vec<_>>());
        assert!(!folder.lines(1).is_empty());
    }
}
