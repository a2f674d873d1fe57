//! Virtual environments of Python: made once, and again when what they have to hold is another list.

use std::path::{Path, PathBuf};

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
        let list = Path::new(self.folder).join("packages.txt");
        let packages = self.packages.join("\n");
        let installed = std::fs::read_to_string(&list).is_ok_and(|it| it == packages);
        if installed && program(self.python(), ["--version"]).quiet().run().is_ok() {
            return Ok(());
        }
        let new = ["-m", "venv", "--clear", self.folder];
        python().args(new).named(&format!("Python in {}", self.folder)).run()?;
        let packages_named = format!("packages of {}", self.folder);
        let install = program(self.python(), PIP).args(self.packages.iter().copied());
        install.named(&packages_named).run()?;
        rest()?;
        // Last, so that an installation that failed begins again.
        Ok(std::fs::write(list, packages)?)
    }
}
