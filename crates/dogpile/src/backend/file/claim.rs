//! Claims to keys, as the library asks for them: the lock of the key, and a token that
//! ends with any change of it.
//!
//! Locks travel with what is asked of the writer and are given up only afterwards. So a
//! caller who does not wait for the answer frees no key that is still being claimed or
//! stored under.

use bytes::Bytes;
use rusqlite::Connection;

use super::File;
use super::creations::{self, Claim, Token, Won};
use super::database::Mark;
use super::error::FileError;
use super::joint::{Change, Step};
use crate::backend::{BackendError, ClaimMode, Claimed, Commit, Wanted};
use crate::lock::Lease;
use crate::token::new_token;
use crate::value::Entry;

/// A claim that was won; it is in the [`Lease`].
struct Held {
    key: Box<str>,
    token: Token,
    /// May the token be taken away if nothing is stored? Not one that another creation
    /// may share.
    is_alone: bool,
    mode: ClaimMode,
    replaces: Option<Mark>,
    _lock: Option<Lease>,
}

/// Keys that are being claimed.
struct Claiming(Vec<Asked>);

enum Asked {
    /// Somebody else has the lock.
    Locked,
    /// There was another value already.
    Changed(Entry),
    Key(Attempt),
}

struct Attempt {
    key: Box<str>,
    mode: ClaimMode,
    lock: Option<Lease>,
    token: Token,
    claim: Option<Claim>,
}

impl Step for Claiming {
    type Done = Vec<Claimed>;

    fn apply(&mut self, connection: &Connection) -> Result<(), FileError> {
        for asked in &mut self.0 {
            if let Asked::Key(Attempt { key, mode, token, claim, .. }) = asked {
                *claim = Some(creations::claim(connection, key, token, *mode)?);
            }
        }
        Ok(())
    }

    fn done(self) -> Vec<Claimed> {
        self.0.into_iter().map(Asked::done).collect()
    }
}

impl Asked {
    fn done(self) -> Claimed {
        let Attempt { key, mode, lock, claim, .. } = match self {
            Self::Key(attempt) => attempt,
            Self::Changed(entry) => return Claimed::Changed(entry),
            Self::Locked => return Claimed::Held,
        };
        match claim {
            Some(Claim::Won(Won { token, is_own, replaces })) => {
                let is_alone = is_own && lock.is_some();
                let held = Held { key, token, is_alone, mode, replaces, _lock: lock };
                Claimed::Won(Lease::new(held))
            }
            Some(Claim::Changed(entry)) => Claimed::Changed(entry),
            None => Claimed::Held,
        }
    }
}

/// Claims that are being given up, with what is to be stored under them.
struct Committing(Vec<Ending>);

struct Ending {
    held: Held,
    change: Storing,
    is_made: bool,
}

enum Storing {
    Put(Bytes),
    Remove,
    /// Nothing is to be stored.
    Nothing,
}

impl Step for Committing {
    /// Which changes were made.
    type Done = Vec<bool>;

    fn apply(&mut self, connection: &Connection) -> Result<(), FileError> {
        for Ending { held, change, is_made } in &mut self.0 {
            let Held { key, token, is_alone, replaces, mode, .. } = held;
            let frame = match change {
                Storing::Put(frame) => Some(&**frame),
                Storing::Remove => None,
                Storing::Nothing => {
                    if *is_alone {
                        creations::unmark(connection, key, token)?;
                    }
                    continue;
                }
            };
            *is_made = creations::commit(connection, key, token, frame)?;
            if !*is_made
                && *mode == ClaimMode::Refresh
                && let Some(replaces) = replaces
            {
                creations::remove_replaced(connection, key, replaces)?;
            }
        }
        Ok(())
    }

    fn done(self) -> Vec<bool> {
        self.0.into_iter().map(|ending| ending.is_made).collect()
    }
}

impl File {
    /// See [`Backend::claim`](crate::backend::Backend::claim).
    pub(super) async fn claim_keys(
        &self,
        keys: Vec<Wanted<'_>>,
    ) -> Result<Vec<Claimed>, BackendError> {
        // Most who have waited, for one key, find a value: that takes no transaction.
        let looks = keys.len() == 1;
        let mut claiming = Vec::with_capacity(keys.len());
        for wanted in self.lock_keys(keys)? {
            claiming.push(self.found_or_asked(wanted, looks)?);
        }
        let claiming = Claiming(claiming);
        if claiming.0.iter().any(|asked| matches!(asked, Asked::Key(_))) {
            return self.shared()?.writer.join(claiming).await;
        }
        Ok(claiming.done())
    }

    /// Takes the locks of keys that have none yet, where there are locks.
    fn lock_keys<'k>(&self, mut keys: Vec<Wanted<'k>>) -> Result<Vec<Wanted<'k>>, BackendError> {
        if self.0.options.creation_locks {
            let free = keys.iter().filter(|wanted| wanted.held.is_none());
            let free: Vec<&str> = free.map(|wanted| wanted.key).collect();
            let mut locks = self.shared()?.locks()?.try_lock_all(&free)?.into_iter();
            for wanted in keys.iter_mut().filter(|wanted| wanted.held.is_none()) {
                wanted.held = locks.next().flatten();
            }
        }
        Ok(keys)
    }

    /// Says what is to be asked about a key, whose lock was taken if it was free.
    fn found_or_asked(&self, wanted: Wanted<'_>, looks: bool) -> Result<Asked, BackendError> {
        let Wanted { key, mode, held: lock, .. } = wanted;
        if lock.is_none() && self.0.options.creation_locks && !mode.takes_over() {
            return Ok(Asked::Locked);
        }
        if looks
            && let ClaimMode::Create(_) = mode
            && let Ok(Some(entry)) = self.shared()?.readers.get(key)
            && mode.is_settled_by(Some(&entry))
        {
            return Ok(Asked::Changed(entry));
        }
        let token = new_token().into_bytes();
        Ok(Asked::Key(Attempt { key: key.into(), mode, lock, token, claim: None }))
    }

    /// See [`Backend::commit`](crate::backend::Backend::commit).
    pub(super) async fn commit_claims(
        &self,
        changes: Vec<Commit<'_>>,
    ) -> Result<Vec<bool>, BackendError> {
        let mut endings = Vec::with_capacity(changes.len());
        let mut refused = None;
        for Commit { key, entry, lease } in changes {
            let held = lease.into_inner::<Held>();
            let held =
                held.map_err(|_| BackendError::other("lease belongs to a different backend"))?;
            let change = match entry.map(|entry| self.frame(key, &entry)) {
                Some(Ok(Change::Put { frame, .. })) => Storing::Put(frame),
                Some(Ok(Change::Delete { .. })) | None => Storing::Remove,
                // The others are stored all the same.
                Some(Err(error)) => {
                    refused = Some(error);
                    Storing::Nothing
                }
            };
            endings.push(Ending { held, change, is_made: false });
        }
        let made = self.shared()?.writer.join(Committing(endings)).await?;
        match refused {
            Some(error) => Err(error),
            None => Ok(made),
        }
    }

    /// See [`Backend::release`](crate::backend::Backend::release).
    pub(super) async fn release_claims(&self, leases: Vec<Lease>) {
        let claims = leases.into_iter().filter_map(|lease| lease.into_inner::<Held>().ok());
        let endings: Vec<Ending> = claims
            .filter(|held| held.is_alone)
            .map(|held| Ending { held, change: Storing::Nothing, is_made: false })
            .collect();
        if !endings.is_empty() {
            // A token that stays does no harm.
            if let Ok(shared) = self.shared() {
                let _ = shared.writer.join(Committing(endings)).await;
            }
        }
    }
}
