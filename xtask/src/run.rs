//! Running commands, and saying which.

use std::ffi::OsStr;
use std::fmt;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Why a chore was not done.
#[derive(Debug)]
pub(crate) struct Error(pub(crate) String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

/// A command that is one step of a chore.
pub(crate) struct Step {
    command: Command,
    name: Option<String>,
}

/// Any program with these arguments.
pub(crate) fn program<'a>(
    program: impl AsRef<OsStr>,
    arguments: impl IntoIterator<Item = &'a str>,
) -> Step {
    let mut command = Command::new(program);
    command.args(arguments);
    Step { command, name: None }
}

/// `cargo` with these arguments. The `cargo` of the path rather than the one
/// that runs us: only that one understands `+nightly`.
pub(crate) fn cargo<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Step {
    let mut step = program("cargo", arguments);
    // Set by the cargo that runs us, these would pin the toolchain.
    step.command.env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
    // The files that make the next build of a crate quick are half of those that a build leaves on the disk.
    step.command.env("CARGO_INCREMENTAL", "0");
    step
}

impl Step {
    /// Announces the step and how long it took.
    pub(crate) fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    pub(crate) fn args<'a>(mut self, more: impl IntoIterator<Item = &'a str>) -> Self {
        self.command.args(more);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Builds where other flags do not undo the work of other steps.
    pub(crate) fn target_dir(self, folder: &str) -> Self {
        self.env("CARGO_TARGET_DIR", folder)
    }

    pub(crate) fn quiet(mut self) -> Self {
        self.command.stdout(Stdio::null()).stderr(Stdio::null());
        self
    }

    pub(crate) fn run(mut self) -> Result<(), Error> {
        if let Some(name) = &self.name {
            println!("==> {name}");
        }
        let began = Instant::now();
        let what = self.name.clone().unwrap_or_else(|| "a command".to_owned());
        let status = self.command.status().map_err(|e| Error(format!("{what}: {e}")))?;
        if !status.success() {
            return Err(Error(format!("{what} failed ({status})")));
        }
        if self.name.is_some() {
            println!("==> {what}: {:.0} s", began.elapsed().as_secs_f64());
        }
        Ok(())
    }
}
