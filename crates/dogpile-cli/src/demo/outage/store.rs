//! The cache's store, which can really go away: a Redis that is killed, or a file whose folder
//! is moved, as when a disk is unmounted.

use std::fs;
use std::path::{Path, PathBuf};

use dogpile::backend::{AnyBackend, File};

#[cfg(unix)]
use super::server::Server;
use crate::error::CommandError;

/// The kind of store that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// A cache file
    File,
    /// A Redis or Valkey, started for the demonstration
    Redis,
}

/// A store, and the place where it is.
pub(super) struct Store {
    backend: AnyBackend,
    place: Place,
}

enum Place {
    Folder {
        here: PathBuf,
        away: PathBuf,
    },
    #[cfg(unix)]
    Server(Server),
}

impl Store {
    /// Opens a store of this kind within `folder`. If any will do, it is a server if one is
    /// installed, and else a file.
    pub(super) async fn open(kind: Option<Kind>, folder: &Path) -> Result<Self, CommandError> {
        match kind {
            Some(Kind::File) => Self::file(folder),
            Some(Kind::Redis) => Self::server(folder).await,
            None => match Self::server(folder).await {
                Ok(store) => Ok(store),
                Err(_) => Self::file(folder),
            },
        }
    }

    fn file(folder: &Path) -> Result<Self, CommandError> {
        let (here, away) = (folder.join("store"), folder.join("store-away"));
        fs::create_dir(&here)?;
        let backend = AnyBackend::new(File::open(here.join("cache.db"))?);
        Ok(Self { backend, place: Place::Folder { here, away } })
    }

    #[cfg(unix)]
    async fn server(folder: &Path) -> Result<Self, CommandError> {
        let server = Server::start(folder).await?;
        let backend = AnyBackend::new(server.open()?);
        Ok(Self { backend, place: Place::Server(server) })
    }

    #[cfg(not(unix))]
    async fn server(_folder: &Path) -> Result<Self, CommandError> {
        Err(CommandError::usage("a server needs Unix sockets: use `--store file`"))
    }

    pub(super) fn backend(&self) -> AnyBackend {
        self.backend.clone()
    }

    /// Tells which store it is, and how it goes away.
    pub(super) fn description(&self) -> String {
        match &self.place {
            Place::Folder { .. } => {
                "a file; its folder is moved away, and comes back with all values".to_owned()
            }
            #[cfg(unix)]
            Place::Server(server) => {
                format!("{}; it is killed, and started again, empty", server.program())
            }
        }
    }

    pub(super) fn take_away(&mut self) -> Result<(), CommandError> {
        match &mut self.place {
            Place::Folder { here, away } => fs::rename(here, away)?,
            #[cfg(unix)]
            Place::Server(server) => server.kill(),
        }
        Ok(())
    }

    pub(super) async fn bring_back(&mut self) -> Result<(), CommandError> {
        match &mut self.place {
            Place::Folder { here, away } => fs::rename(away, here)?,
            #[cfg(unix)]
            Place::Server(server) => server.launch().await?,
        }
        Ok(())
    }
}
