//! Scripts without a first line that says what runs them.
//!
//! The kernel refuses them. Shells, `execvp` and all that is built on it (`env`, `nice`,
//! `timeout`) have `sh` run them.

use std::env;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};

/// As much of a file as says whether it is text.
const HEAD: u64 = 256;

/// Returns the script that `program` means, if the kernel refused it as one.
pub(super) fn refused(program: &OsStr, error: &io::Error) -> Option<PathBuf> {
    if error.raw_os_error() != Some(Errno::ENOEXEC as i32) {
        return None;
    }
    find(program).filter(|path| is_text(path))
}

/// Returns the file that `program` means.
fn find(program: &OsStr) -> Option<PathBuf> {
    if program.as_encoded_bytes().contains(&b'/') {
        return Some(program.into());
    }
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file() && access(path, AccessFlags::X_OK).is_ok())
}

/// Is the first line text? A program of another kind of machine is not.
fn is_text(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEAD).read_to_end(&mut head));
    read.is_ok() && !head.split(|&byte| byte == b'\n').next().unwrap_or_default().contains(&0)
}
