//! Claims: the lock of a key, and a mark beside its value.
//!
//! memcached changes one item at a time, and gives it another number with each change.
//! So a creation that found a value is bound to its number, which is exact. One that
//! found nothing is bound to its mark, which every change removes first: it looks at the
//! mark after it has stored, and withdraws what it has stored if that is gone. The mark
//! lies on the server of the value, whatever its own name hashes to.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::mutex::{Grip, Held};
use super::protocol::{Only, Reply, Request};
use super::servers::Answer;
use super::{MARK, Shared, changed, check_key, item, strange};
use crate::backend::{BackendError, ClaimMode, Claimed, Seen, Wanted, mark_key};
use crate::lock::Lease;
use crate::remote::lease;

/// What a lease of this backend holds.
pub(super) struct Claim {
    /// None where the lock's server is away, or another program holds the lock.
    pub(super) held: Option<Held>,
    pub(super) mark: Mark,
    pub(super) mode: ClaimMode,
    pub(super) before: Before,
}

/// A mark that was put.
#[derive(Clone)]
pub(super) struct Mark {
    pub(super) key: String,
    pub(super) token: Bytes,
    pub(super) number: u64,
}

/// What was stored when the key was claimed.
#[derive(Clone)]
pub(super) struct Before {
    pub(super) seen: Seen,
    /// None if there was nothing.
    pub(super) number: Option<u64>,
}

/// A key on its way to be claimed.
struct Asked<'k> {
    key: &'k str,
    mode: ClaimMode,
    mark: String,
    token: Bytes,
}

/// What the value's server says to a claim: the mark, then the value.
struct Beside {
    mark: Reply,
    value: Reply,
}

impl Shared {
    /// Keys that are the library's own are nobody's values.
    pub(super) fn check_own(&self, key: &str) -> Result<(), BackendError> {
        let prefix = &self.options.lock_prefix;
        if key.starts_with(&**prefix) || key.starts_with(MARK) {
            return Err(BackendError::refused(format!(
                "keys that begin with `{prefix}` or `{MARK}` are locks and marks: give the region another key mangler or prefix"
            )));
        }
        Ok(())
    }

    /// Makes changes, each of which ends the claim of a creation of its key: its mark is
    /// removed first.
    pub(super) async fn change(&self, changes: Vec<Request<'_>>) -> Result<(), BackendError> {
        let marks: Vec<String> = changes.iter().map(|change| mark_key(change.key())).collect();
        let mut requests = Vec::with_capacity(2 * changes.len());
        for (change, mark) in changes.into_iter().zip(&marks) {
            if check_key(mark).is_ok() {
                requests.push(Request::Delete { key: mark, number: None });
            }
            requests.push(change);
        }
        self.servers.ask_all(requests).await.into_iter().try_for_each(changed)
    }

    pub(super) async fn claim(
        self: &Arc<Self>,
        wanted: Vec<Wanted<'_>>,
    ) -> Result<Vec<Claimed>, BackendError> {
        let mut grips = Vec::with_capacity(wanted.len());
        let mut asked = Vec::with_capacity(wanted.len());
        for Wanted { key, mode, .. } in wanted {
            self.check_own(key)?;
            let (grip, mark) = (Grip::new(self.lock_key(key)?), mark_key(key));
            check_key(&mark)?;
            asked.push(Asked { key, mode, mark, token: grip.token.clone() });
            grips.push(grip);
        }
        let (taken, beside) = self.take_and_look(grips, &asked).await?;
        let mut claims = Vec::with_capacity(asked.len());
        for ((asked, taken), beside) in asked.iter().zip(taken).zip(beside) {
            claims.push(self.claim_one(asked, taken, beside?).await?);
        }
        Ok(claims)
    }

    /// Takes the locks, puts the marks where there are none, and reads the values: in one
    /// round trip from one server, in two from several, since what is read must be newer.
    async fn take_and_look(
        self: &Arc<Self>,
        grips: Vec<Grip>,
        asked: &[Asked<'_>],
    ) -> Result<
        (Vec<Result<Result<Held, Reply>, BackendError>>, Vec<Result<Beside, BackendError>>),
        BackendError,
    > {
        let began = Instant::now();
        let looks = asked.iter().flat_map(|asked| {
            let only = Only::IfAbsent;
            let value = Request::Get { key: asked.key, value: true };
            [self.marking(asked, only), Request::Get { key: &asked.mark, value: true }, value]
        });
        let mut requests = self.takings(&grips);
        let (locks, looks) = if self.servers.are_one() {
            requests.extend(looks);
            let mut answers = self.servers.ask_all(requests).await;
            let looks = answers.split_off(2 * asked.len());
            (answers, looks)
        } else {
            let locks = self.servers.ask_all(requests).await;
            (locks, self.servers.ask_all(looks.collect()).await)
        };
        let taken = self.taken(grips, locks, began);
        let mut looks = looks.into_iter();
        let mut beside = Vec::with_capacity(asked.len());
        while let (Some(_), Some(mark), Some(value)) = (looks.next(), looks.next(), looks.next()) {
            beside.push(mark.and_then(|mark| Ok(Beside { mark, value: value? })));
        }
        Ok((taken, beside))
    }

    fn marking<'a>(&self, asked: &'a Asked<'_>, only: Only) -> Request<'a> {
        let terms = self.options.terms;
        // It must not end before the creation does.
        let ttl = item::ttl(Some(terms.longest_creation.saturating_add(terms.lease)));
        Request::Store { key: &asked.mark, flags: 0, value: asked.token.clone(), ttl, only }
    }

    async fn claim_one(
        self: &Arc<Self>,
        asked: &Asked<'_>,
        taken: Result<Result<Held, Reply>, BackendError>,
        beside: Beside,
    ) -> Result<Claimed, BackendError> {
        let found = entry_of(&beside.value)?;
        let mut overtakes = false;
        let held = match taken {
            Ok(Ok(held)) => Some(held),
            // The lock's server is away: its caller goes ahead without.
            Err(_) => None,
            // No lock is asked for: each process creates for itself.
            Ok(_) if !self.options.locks => None,
            Ok(Err(_)) if !asked.mode.takes_over() => return Ok(Claimed::Held),
            Ok(Err(holder)) => {
                overtakes = true;
                match self.take_from(asked, holder).await? {
                    None if asked.mode == ClaimMode::Refresh => return Ok(Claimed::Held),
                    held => held,
                }
            }
        };
        let mark = match &beside.mark {
            Reply::Item { number, value, .. } if *value == asked.token => *number,
            // Another creation's, which is dead or overtaken.
            _ => {
                overtakes = true;
                self.put_mark(asked).await?
            }
        };
        // The overtaken creation may have stored before its mark was gone.
        let (beside, found) = if overtakes {
            let value = self.servers.ask(Request::Get { key: asked.key, value: true }).await?;
            let found = entry_of(&value)?;
            (Beside { value, ..beside }, found)
        } else {
            (beside, found)
        };
        let seen = Seen::of(found.as_ref().map(|(entry, ..)| entry));
        let mark = Mark { key: asked.mark.clone(), token: asked.token.clone(), number: mark };
        let mut before = Before { seen, number: found.as_ref().map(|(_, number)| *number) };
        if let Some((entry, _)) = found
            && asked.mode.is_settled_by(Some(&entry))
        {
            self.give_up(&Claim { held, mark, mode: asked.mode, before }).await;
            return Ok(Claimed::Changed(entry));
        }
        if overtakes && asked.mode.takes_over() {
            before = self.renumber(asked.key, beside.value).await?;
        }
        Ok(Claimed::Won(Lease::new(Claim { held, mark, mode: asked.mode, before })))
    }

    async fn put_mark(&self, asked: &Asked<'_>) -> Result<u64, BackendError> {
        match self.servers.ask(self.marking(asked, Only::Always)).await? {
            Reply::Done { number } => Ok(number),
            other => Err(strange(&other)),
        }
    }

    /// Takes a lock from another creation; not from another program.
    async fn take_from(
        self: &Arc<Self>,
        asked: &Asked<'_>,
        mut holder: Reply,
    ) -> Result<Option<Held>, BackendError> {
        const TRIES: usize = 5;
        let grip = Grip::with_token(self.lock_key(asked.key)?, asked.token.clone());
        for _ in 0..TRIES {
            let only = match &holder {
                Reply::Item { number, value, .. } if value.starts_with(b"dogpile-") => {
                    Only::IfUnchanged(*number)
                }
                Reply::Missing => Only::IfAbsent,
                _ => return Ok(None),
            };
            let began = Instant::now();
            let taking = grip.taking(self.options.terms.lease, only);
            match self.servers.ask(taking).await {
                Ok(Reply::Done { number }) => {
                    grip.confirm(number, began);
                    return Ok(Some(Held::new(self, grip)));
                }
                Ok(_) => {}
                Err(fault) => {
                    // It may have been taken all the same.
                    lease::give_up(self, std::iter::once(grip));
                    return Err(fault);
                }
            }
            holder = self.servers.ask(grip.looking()).await?;
        }
        Ok(None)
    }

    /// Stores the same value once more, so that it has another number: an overtaken
    /// creation that is bound to the one it had cannot be stored.
    async fn renumber(&self, key: &str, mut value: Reply) -> Result<Before, BackendError> {
        const TRIES: usize = 5;
        for _ in 0..TRIES {
            let Reply::Item { flags, number, value: bytes } = value else { break };
            let (entry, ttl) = (item::unpack(flags, &bytes), self.ttl());
            let only = Only::IfUnchanged(number);
            let again = Request::Store { key, flags, value: bytes, ttl, only };
            if let Reply::Done { number } = self.servers.ask(again).await? {
                return Ok(Before { seen: Seen::of(Some(&entry)), number: Some(number) });
            }
            value = self.servers.ask(Request::Get { key, value: true }).await?;
        }
        Ok(Before { seen: Seen::Nothing, number: None })
    }

    /// Takes each lock, and asks whose it is: which says it, also if the first
    /// was sent twice.
    pub(super) fn takings<'g>(&self, grips: &'g [Grip]) -> Vec<Request<'g>> {
        let lease = self.options.terms.lease;
        let both = |grip: &'g Grip| [grip.taking(lease, Only::IfAbsent), grip.looking()];
        grips.iter().flat_map(both).collect()
    }

    /// What the answers to [`takings`](Self::takings) say: the lock, or who holds it.
    pub(super) fn taken(
        self: &Arc<Self>,
        grips: Vec<Grip>,
        answers: Vec<Answer>,
        began: Instant,
    ) -> Vec<Result<Result<Held, Reply>, BackendError>> {
        let looks = answers.into_iter().skip(1).step_by(2);
        let taken = grips.into_iter().zip(looks).map(|(grip, look)| match look {
            Ok(reply) => Ok(match grip.is_in(&reply) {
                Some(number) => {
                    grip.confirm(number, began);
                    Ok(Held::new(self, grip))
                }
                None => Err(reply),
            }),
            Err(fault) => {
                // It may have been taken all the same.
                lease::give_up(self, std::iter::once(grip));
                Err(fault)
            }
        });
        taken.collect()
    }
}

/// The entry in what was read, with its number.
pub(super) fn entry_of(value: &Reply) -> Result<Option<(crate::value::Entry, u64)>, BackendError> {
    match value {
        Reply::Item { flags, number, value } => Ok(Some((item::unpack(*flags, value), *number))),
        Reply::Missing => Ok(None),
        other => Err(strange(other)),
    }
}
