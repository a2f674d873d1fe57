//! Virtual environments of Python: installed once, and again for another list of packages or another Python.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{Error, Step, program};

const PIP: [&str; 5] = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];

pub(crate) struct Environment<'a> {
    pub(crate) folder: &'a str,
    pub(crate) packages: &'a [&'a str],
}

impl Environment<'_> {
    /// Its interpreter.
    pub(crate) fn python(&self) -> PathBuf {
        Path::new(self.folder).join("bin/python")
    }

    /// Installs it with `python`, and then does `rest`, unless all that was done before with the same list of
    /// packages.
    pub(crate) fn install(
        &self,
        python: impl FnOnce() -> Step,
        rest: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let list = Path::new(self.folder).join("installed.txt");
        let installed = std::fs::read_to_string(&list).unwrap_or_default();
        if !installed.is_empty() && self.state().is_some_and(|state| state == installed) {
            return Ok(());
        }
        let new = ["-m", "venv", "--clear", self.folder];
        python().args(new).named(&format!("Python in {}", self.folder)).run()?;
        let packages_named = format!("packages of {}", self.folder);
        let install = program(self.python(), PIP).args(self.packages.iter().copied());
        install.named(&packages_named).run()?;
        rest()?;
        // Last, so that an installation that failed begins again.
        Ok(std::fs::write(list, self.state().unwrap_or_default())?)
    }

    /// Returns the version of its interpreter and its packages; nothing where it does not run. An interpreter of
    /// the system may become another one, which has no packages.
    fn state(&self) -> Option<String> {
        let version = Command::new(self.python()).arg("--version").output().ok()?.stdout;
        Some(format!("{}{}\n", String::from_utf8_lossy(&version), self.packages.join("\n")))
    }
}
