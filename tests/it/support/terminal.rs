//! A terminal in memory: the program has one end, and a screen is drawn from what comes out of the other.

#![allow(unsafe_code, reason = "only libc opens a pseudo-terminal")]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::mem::MaybeUninit;
use std::num::NonZeroU16;
use std::os::fd::AsRawFd as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use footprint_trials::trial::terminal_ends;

/// The two ends of a new terminal: ours, and the program's.
pub fn ends() -> (File, File) {
    terminal_ends().unwrap()
}

/// What a terminal does with bytes: the flags of its four modes, and its special characters.
#[derive(Debug, PartialEq, Eq)]
pub struct Modes([u32; 4], Vec<u8>);

/// A terminal with a screen, and one program. It keeps the program's end open, so its modes can be read after the program's end. Its
/// own end kills the program.
pub struct Terminal {
    program: Child,
    ours: File,
    theirs: Option<File>,
    screen: Arc<Mutex<vt100::Parser>>,
    reader: Option<JoinHandle<()>>,
}

impl Terminal {
    /// Starts the program with all its streams here. Returns the modes before that, too.
    pub fn start(command: &mut Command, columns: u16, rows: u16) -> (Self, Modes) {
        let (ours, theirs) = ends();
        resize(&ours, columns, rows);
        let before = modes(&theirs);
        let stream = || Stdio::from(theirs.try_clone().unwrap());
        let program = command.stdin(stream()).stdout(stream()).stderr(stream()).spawn().unwrap();
        // the command would keep the terminal open
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let screen = Arc::new(Mutex::new(vt100::Parser::new(size(rows), size(columns), 0)));
        let (mut from, drawn) = (ours.try_clone().unwrap(), Arc::clone(&screen));
        let reader = thread::spawn(move || {
            let mut bytes = [0; 4096];
            // the terminal's last reader gets an error when its other end is closed everywhere
            while let Ok(count @ 1..) = from.read(&mut bytes) {
                drawn.lock().unwrap_or_else(PoisonError::into_inner).process(&bytes[..count]);
            }
        });
        (Self { program, ours, theirs: Some(theirs), screen, reader: Some(reader) }, before)
    }

    /// Changes the size, as a window does.
    pub fn resize(&self, columns: u16, rows: u16) {
        self.screen.lock().unwrap().set_size(size(rows), size(columns));
        resize(&self.ours, columns, rows);
        // the kernel tells only processes whose terminal it is
        self.signal(libc::SIGWINCH);
    }

    /// Sends the program a signal.
    pub fn signal(&self, signal: i32) {
        // SAFETY: kill only sends a signal
        assert_eq!(unsafe { libc::kill(self.program.id().cast_signed(), signal) }, 0);
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.program.try_wait().unwrap()
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) {
        self.ours.write_all(keys.as_bytes()).unwrap();
    }

    /// The screen's text.
    pub fn text(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    /// Whether a program fills the screen and hides the cursor.
    pub fn is_filled(&self) -> (bool, bool) {
        let parser = self.screen.lock().unwrap();
        (parser.screen().alternate_screen(), parser.screen().hide_cursor())
    }

    /// Whether a cell of the screen has another colour than most.
    pub fn has_colours(&self) -> bool {
        let parser = self.screen.lock().unwrap();
        let (rows, columns) = parser.screen().size();
        let is_plain =
            |row, column| parser.screen().cell(row, column).is_none_or(|cell| cell.fgcolor() == vt100::Color::Default);
        (0..rows.get()).any(|row| !(0..columns.get()).all(|column| is_plain(row, column)))
    }

    /// The modes now.
    pub fn modes(&self) -> Modes {
        modes(self.theirs.as_ref().unwrap())
    }
}

fn size(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).unwrap()
}

fn resize(end: &File, columns: u16, rows: u16) {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the request only reads the size, which lives until it returns
    assert_eq!(unsafe { libc::ioctl(end.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }, 0);
}

fn modes(end: &File) -> Modes {
    let mut found = MaybeUninit::<libc::termios>::zeroed();
    // SAFETY: tcgetattr only writes to `found`
    assert_eq!(unsafe { libc::tcgetattr(end.as_raw_fd(), found.as_mut_ptr()) }, 0);
    // SAFETY: zeroed is a valid value, and tcgetattr has overwritten it
    let found = unsafe { found.assume_init() };
    Modes([found.c_iflag, found.c_oflag, found.c_cflag, found.c_lflag], found.c_cc.to_vec())
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
        // ends the reader
        drop(self.theirs.take());
        let _ = self.reader.take().unwrap().join();
    }
}
