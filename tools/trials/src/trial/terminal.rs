//! A pseudo-terminal for tests, as posix_openpt(3) gives it.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::FromRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;

/// The two ends of a new terminal: ours, and the program's.
///
/// # Errors
/// The system gives no terminal.
#[allow(unsafe_code)]
pub fn terminal_ends() -> io::Result<(File, File)> {
    // closed in every program that another thread starts meanwhile: it would keep the terminal open
    // SAFETY: it takes no pointers
    let number = unsafe { libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC) };
    if number < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it has just been opened, and nobody else owns it
    let ours = unsafe { File::from_raw_fd(number) };
    let mut name = [0; 64];
    // SAFETY: the number is an open terminal, and the name's length is given
    let is_named = unsafe {
        libc::grantpt(number) == 0
            && libc::unlockpt(number) == 0
            && libc::ptsname_r(number, name.as_mut_ptr(), name.len()) == 0
    };
    if !is_named {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: ptsname_r has ended the name with a zero
    let name = unsafe { CStr::from_ptr(name.as_ptr()) }.to_str().map_err(io::Error::other)?;
    let theirs = File::options().read(true).write(true).custom_flags(libc::O_NOCTTY).open(name)?;
    Ok((ours, theirs))
}
