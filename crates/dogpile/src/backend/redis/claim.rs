//! Claims: what keeps a creation from being stored over a later change.
//!
//! A creation takes the lock, which every process knows, Python's too, and puts a mark
//! beside the value, in the value's slot whatever its name. A change removes the mark,
//! and a commit needs it. Where scripts are allowed, each is one step on the server; see
//! [`plain`](super::plain) for where they are not.
//!
//! Where no locks are asked for, a creation shares the mark that it finds: since that was
//! put, the key was not changed. The first of them to commit ends the claims of the others.
//! So creations that overlap do not keep each other from being stored.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redis::Value;

use super::connection::Batch;
use super::frame::{Frame, entry_of};
use super::lock::{Before, Claim, Held, LockToken, get};
use super::scripts::{CHANGE, CLAIM, COMMIT, Call, TAKE};
use super::{Shared, slot};
use crate::backend::{BackendError, ClaimMode, Claimed, Commit, Seen, Wanted, own_mark_key};
use crate::lock::Lease;
use crate::remote::finish::to_the_end;
use crate::remote::life::Life;
use crate::remote::prefix::KeyPrefix;
use crate::remote::{lease, new_token};
use crate::value::Entry;

/// A change to a key, for all who make one without a claim.
pub(super) struct Change<'k> {
    pub(super) key: &'k str,
    /// None removes what is stored.
    pub(super) frame: Option<Frame>,
}

/// So many changes are made by one run of the script: the server does nothing else
/// meanwhile.
const CHANGES_TOGETHER: usize = 64;

/// A commit, taken apart.
pub(super) struct Bound {
    pub(super) key: String,
    pub(super) frame: Option<Frame>,
    pub(super) claim: Claim,
    /// The end of the process was ordered: the claim is as good as broken.
    pub(super) is_over: bool,
}

/// A key on its way to be claimed.
pub(super) struct Asked<'k> {
    pub(super) key: &'k str,
    pub(super) mode: ClaimMode,
    pub(super) lock: String,
    pub(super) mark: String,
    pub(super) token: String,
    /// Does it share the mark that is there?
    pub(super) shares: bool,
    /// May others share its mark?
    is_shared: bool,
}

impl Shared {
    /// Can one script take both the value and its lock?
    pub(super) fn are_together(&self, key: &str, lock: &str) -> bool {
        !self.target.is_cluster() || slot::of(key) == slot::of(lock)
    }

    /// Keys that are the library's own are nobody's values.
    pub(super) fn check_key(&self, key: &str) -> Result<(), BackendError> {
        let prefix = &self.options.lock_prefix;
        if key.starts_with(&**prefix) || self.is_mark(key.as_bytes()) {
            return Err(BackendError::refused(format!(
                "keys that begin with `{prefix}` or `{}_mark{{` are locks and marks: give the region another key mangler or prefix",
                self.options.key_prefix.as_str(),
            )));
        }
        Ok(())
    }

    /// Returns the key of the mark of the stored key `key`, which lies in the slot of that.
    pub(super) fn mark_of(&self, key: &str) -> String {
        mark_of(&self.options.key_prefix, key)
    }

    pub(super) fn is_mark(&self, key: &[u8]) -> bool {
        self.may_be_mark(key, b"")
    }

    /// May `key` be that of the mark of a stored key that begins with `prefix`? See
    /// [`mark_of`].
    pub(super) fn may_be_mark(&self, key: &[u8], prefix: &[u8]) -> bool {
        let marked = self.options.key_prefix.given(key);
        let Some(marked) = marked.and_then(|key| key.strip_prefix(MARK.as_bytes())) else {
            return false;
        };
        let behind_tag = marked.iter().position(|&byte| byte == b'}').map(|end| &marked[end + 1..]);
        marked.starts_with(prefix) || behind_tag.is_some_and(|key| key.starts_with(prefix))
    }

    /// The keys that a script about `key` needs.
    fn keys_of<'a>(&self, key: &'a str, mark: &'a str, lock: &'a str) -> Vec<&'a str> {
        let mut keys = vec![key, mark];
        if self.options.locks && self.are_together(key, lock) {
            keys.push(lock);
        }
        keys
    }

    /// Makes changes, each of which ends the claim of a creation of its key.
    pub(super) async fn change(&self, changes: Vec<Change<'_>>) -> Result<(), BackendError> {
        if changes.is_empty() {
            return Ok(());
        }
        let stored = changes.iter().filter(|change| change.frame.is_some());
        stored.map(|change| change.key).try_for_each(|key| self.check_key(key))?;
        // Keys of a cluster lie in different slots.
        let together = if self.target.is_cluster() { 1 } else { CHANGES_TOGETHER };
        let calls = changes.chunks(together).map(|changes| self.changing(changes)).collect();
        match self.run(calls).await? {
            Some(_) => Ok(()),
            None => self.change_plainly(&changes).await,
        }
    }

    fn changing(&self, changes: &[Change<'_>]) -> Call {
        let mut keys = Vec::with_capacity(3 * changes.len());
        let mut arguments = vec![Bytes::new()];
        for Change { key, frame } in changes {
            let (mark, lock) = (self.mark_of(key), self.lock_key(key));
            let of_key = self.keys_of(key, &mark, &lock).into_iter().map(str::to_owned);
            keys.extend(of_key);
            let stored = frame.as_ref().map(|frame| [frame.bytes.clone(), frame.retention()]);
            arguments.extend(stored.unwrap_or_default());
        }
        arguments[0] = (keys.len() / changes.len().max(1)).to_string().into();
        Call::of(&CHANGE, keys, arguments)
    }

    pub(super) async fn claim(
        self: &Arc<Self>,
        wanted: Vec<Wanted<'_>>,
    ) -> Result<Vec<Claimed>, BackendError> {
        wanted.iter().try_for_each(|wanted| self.check_key(wanted.key))?;
        let asked: Vec<Asked<'_>> = wanted.iter().map(|wanted| Asked::new(self, wanted)).collect();
        let attempt = Attempt { shared: self, asked: &asked };
        let locks = self.options.locks;
        let together = |asked: &Asked<'_>| !locks || self.are_together(asked.key, &asked.lock);
        let together: Vec<bool> = asked.iter().map(together).collect();
        let Some((locked, answers)) = self.claim_by_scripts(&asked, &together).await? else {
            let claims = self.claim_plainly(&asked).await?;
            attempt.ended();
            return Ok(claims);
        };
        attempt.ended();
        let mut claims: Vec<Claimed> = asked.iter().map(|_| Claimed::Held).collect();
        for (index, answer) in answers {
            let has_lock = locks && (together[index] || locked[index]);
            claims[index] = asked[index].outcome(self, has_lock, answer)?;
        }
        // A lock that was taken before is given back at once: somebody may wait for it.
        let unused = (0..asked.len())
            .filter(|&index| locked[index] && matches!(claims[index], Claimed::Changed(_)));
        let unused: Vec<Call> =
            unused.map(|index| asked[index].token(true).releasing_lock()).collect();
        if !unused.is_empty() {
            self.run(unused).await?;
        }
        self.claim_misread(asked, claims).await
    }

    /// Claims keys after the end of the process was ordered: creations go on, and nothing
    /// is stored for them.
    pub(super) async fn claim_in_vain(
        self: &Arc<Self>,
        wanted: Vec<Wanted<'_>>,
    ) -> Result<Vec<Claimed>, BackendError> {
        wanted.iter().try_for_each(|wanted| self.check_key(wanted.key))?;
        let mut look = Batch::new();
        for Wanted { key, .. } in &wanted {
            look.add(key, get(key));
        }
        let values = self.link.send_all(&look).await?;
        let mut claims = Vec::with_capacity(wanted.len());
        for (wanted, value) in wanted.iter().zip(values) {
            let entry = entry_of(&self.link, value)?;
            let seen = Seen::of(entry.as_ref());
            claims.push(match entry {
                Some(entry) if wanted.mode.is_settled_by(Some(&entry)) => Claimed::Changed(entry),
                // Nothing was put that would have to be given up.
                _ => {
                    let asked = Asked { is_shared: true, ..Asked::new(self, wanted) };
                    let token = asked.token.clone();
                    let before = Before { state: in_words(seen), life: Life::unknown() };
                    asked.won(self, false, token, before)
                }
            });
        }
        Ok(claims)
    }

    /// Which locks in other slots were taken, and the answers to the claims that could
    /// be made, by their indexes. `None` where scripts are refused.
    async fn claim_by_scripts(
        &self,
        asked: &[Asked<'_>],
        together: &[bool],
    ) -> Result<Option<(Vec<bool>, Vec<(usize, Value)>)>, BackendError> {
        let Some(locked) = self.take_apart(asked, together).await? else { return Ok(None) };
        let wants = |index: &usize| together[*index] || locked[*index] || asked[*index].forces();
        let indexes: Vec<usize> = (0..asked.len()).filter(wants).collect();
        let calls = indexes.iter().map(|&index| self.claiming(&asked[index])).collect();
        let answers = self.run(calls).await?;
        Ok(answers.map(|answers| (locked, indexes.into_iter().zip(answers).collect())))
    }

    /// Takes the locks that lie in other slots than their values; for each whether it
    /// is held now. `None` where scripts are refused.
    async fn take_apart(
        &self,
        asked: &[Asked<'_>],
        together: &[bool],
    ) -> Result<Option<Vec<bool>>, BackendError> {
        let mut locked = vec![false; asked.len()];
        let apart: Vec<usize> = (0..asked.len()).filter(|&index| !together[index]).collect();
        let lease = self.lease_milliseconds().to_string();
        let take = |&index: &usize| {
            let Asked { lock, token, mode, .. } = &asked[index];
            let arguments = [token.as_bytes(), lease.as_bytes(), whose(*mode).as_bytes()];
            Call::new(&TAKE, &[lock], &arguments)
        };
        let calls: Vec<Call> = apart.iter().map(take).collect();
        if calls.is_empty() {
            return Ok(Some(locked));
        }
        let Some(answers) = self.run(calls).await? else { return Ok(None) };
        for (index, answer) in apart.into_iter().zip(answers) {
            locked[index] = answer == Value::Int(1);
        }
        Ok(Some(locked))
    }

    fn claiming(&self, asked: &Asked<'_>) -> Call {
        let seen = match asked.mode {
            ClaimMode::Create(seen) => in_words(seen),
            ClaimMode::TakeOver | ClaimMode::Refresh | ClaimMode::Expire => String::new(),
        };
        let (lease, life) = (self.lease_milliseconds(), self.mark_milliseconds());
        let arguments = [&asked.token, &lease.to_string(), &life.to_string(), &seen];
        let mut arguments: Vec<&[u8]> = arguments.iter().map(|text| text.as_bytes()).collect();
        arguments.push(whose(asked.mode).as_bytes());
        arguments.push(if asked.shares { b"shares" } else { b"" });
        Call::new(&CLAIM, &self.keys_of(asked.key, &asked.mark, &asked.lock), &arguments)
    }

    /// A value whose header the script reads in another way than this library (anybody
    /// can write one) is claimed by what the script reads, or the two would ask each
    /// other for ever.
    async fn claim_misread(
        self: &Arc<Self>,
        asked: Vec<Asked<'_>>,
        claims: Vec<Claimed>,
    ) -> Result<Vec<Claimed>, BackendError> {
        let mut settled = Vec::with_capacity(claims.len());
        for (asked, claim) in asked.into_iter().zip(claims) {
            let is_same = |entry| !asked.mode.is_settled_by(Some(entry));
            if !matches!(&claim, Claimed::Changed(entry) if is_same(entry)) {
                settled.push(claim);
                continue;
            }
            let again = Wanted::new(asked.key, ClaimMode::TakeOver);
            settled.extend(Box::pin(self.claim(vec![again])).await?);
        }
        Ok(settled)
    }

    /// Returns how long a mark stays that nobody takes away: it must not end before the
    /// creation does.
    pub(super) fn mark_milliseconds(&self) -> u64 {
        let terms = self.options.terms;
        let life = terms.longest_creation.saturating_add(terms.lease);
        u64::try_from(life.max(Duration::from_secs(1)).as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) async fn commit(
        self: &Arc<Self>,
        changes: Vec<Commit<'_>>,
    ) -> Result<Vec<bool>, BackendError> {
        let is_over = self.ledger.is_closed();
        let mut bound = Vec::with_capacity(changes.len());
        for Commit { key, entry, lease } in changes {
            let claim = lease.into_inner::<Claim>();
            let claim =
                claim.map_err(|_| BackendError::other("lease belongs to a different backend"))?;
            let frame = entry.as_ref().map(|entry| self.frame(entry)).transpose()?;
            bound.push(Bound { key: key.to_owned(), frame, claim, is_over });
        }
        // Where that takes several steps, what was stored is looked after also when the
        // caller has gone.
        let shared = self.clone();
        to_the_end(async move { shared.commit_bound(bound).await }).await
    }

    async fn commit_bound(self: &Arc<Self>, bound: Vec<Bound>) -> Result<Vec<bool>, BackendError> {
        let calls = bound.iter().map(|bound| self.committing(bound)).collect();
        let Some(answers) = self.run(calls).await? else {
            return self.commit_plainly(bound).await;
        };
        let mut apart = Vec::new();
        for Bound { key, claim, .. } in &bound {
            let token = &claim.held.token;
            if !self.are_together(key, &token.lock) {
                apart.push(token.releasing_lock());
            }
        }
        // Only now: a waiter must find the value.
        if !apart.is_empty() {
            self.run(apart).await?;
        }
        bound.iter().for_each(|bound| bound.claim.held.mark_released());
        Ok(answers.into_iter().map(|answer| answer == Value::Int(1)).collect())
    }

    fn committing(&self, bound: &Bound) -> Call {
        let Bound { key, frame, claim, is_over } = bound;
        let LockToken { lock, value: token, .. } = &*claim.held.token;
        // No mark has an empty one.
        let token = if *is_over { "" } else { token };
        let removes = match claim.mode {
            ClaimMode::Refresh => "remove",
            _ if claim.may_find_nothing() => "anyway",
            _ => "",
        };
        let stored = frame.as_ref().map(|frame| [frame.bytes.clone(), frame.retention()]);
        let [frame, retention] = stored.unwrap_or_default();
        let arguments = [
            token.as_bytes(),
            &frame,
            &retention,
            claim.before.state.as_bytes(),
            removes.as_bytes(),
        ];
        Call::new(&COMMIT, &self.keys_of(key, &claim.mark, lock), &arguments)
    }

    /// Gives up claims, and locks without one.
    pub(super) async fn give_back(&self, leases: Vec<Lease>) {
        for lease in leases {
            let held = match lease.into_inner::<Claim>() {
                Ok(claim) => claim.held,
                Err(lease) => match lease.into_inner::<Held>() {
                    Ok(held) => held,
                    Err(_) => continue,
                },
            };
            // Dropped, it is released in the background.
            if self.unlock(&held.token).await.is_ok() {
                held.mark_released();
            }
        }
    }
}

impl Claim {
    /// May the value have gone since, without a change?
    pub(super) fn may_find_nothing(&self) -> bool {
        self.mode.takes_over() || self.before.life.has_ended()
    }
}

/// An attempt to claim keys. Dropped before its answers were read, it releases what it
/// may have locked.
struct Attempt<'a, 'k> {
    shared: &'a Arc<Shared>,
    asked: &'a [Asked<'k>],
}

impl Attempt<'_, '_> {
    fn ended(self) {
        std::mem::forget(self);
    }
}

/// Only on the way to no answer: [`ended`](Attempt::ended) forgets it.
impl Drop for Attempt<'_, '_> {
    fn drop(&mut self) {
        lease::give_up(self.shared, self.asked.iter().map(|asked| asked.token(true)));
    }
}

impl<'k> Asked<'k> {
    fn new(shared: &Shared, wanted: &Wanted<'k>) -> Self {
        let Wanted { key, mode, .. } = *wanted;
        let (lock, mark) = (shared.lock_key(key), shared.mark_of(key));
        let is_shared = !shared.options.locks;
        let shares = is_shared && !mode.takes_over();
        Self { key, mode, lock, mark, token: new_token(), shares, is_shared }
    }

    /// Is the key claimed even where another program holds its lock?
    pub(super) fn forces(&self) -> bool {
        self.mode == ClaimMode::TakeOver
    }

    pub(super) fn token(&self, has_lock: bool) -> LockToken {
        let (value, is_shared) = (self.token.clone(), self.is_shared);
        if has_lock {
            LockToken { lock: self.lock.clone(), value, mark: Some(self.mark.clone()), is_shared }
        } else {
            LockToken { lock: self.mark.clone(), value, mark: None, is_shared }
        }
    }

    /// The key is claimed, and `token` is in its mark.
    pub(super) fn won(
        &self,
        shared: &Arc<Shared>,
        has_lock: bool,
        token: String,
        before: Before,
    ) -> Claimed {
        let held = Held::new(shared, LockToken { value: token, ..self.token(has_lock) });
        let claim = Claim { held, mark: self.mark.clone(), mode: self.mode, before };
        Claimed::Won(Lease::new(claim))
    }

    fn outcome(
        &self,
        shared: &Arc<Shared>,
        has_lock: bool,
        answer: Value,
    ) -> Result<Claimed, BackendError> {
        let Value::Array(parts) = answer else {
            return Err(BackendError::other("protocol error: unexpected response to a claim"));
        };
        let mut parts = parts.into_iter();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (
                Some(Value::Int(1)),
                Some(Value::BulkString(state)),
                Some(Value::BulkString(token)),
                Some(Value::Int(left)),
            ) => {
                let before = Before { state: text(&state), life: life_of(left) };
                self.won(shared, has_lock, text(&token), before)
            }
            (Some(Value::Int(2)), Some(Value::BulkString(frame)), None, None) => {
                Claimed::Changed(Entry::from_frame(&frame.into()))
            }
            _ => Claimed::Held,
        })
    }
}

/// May a lock be taken from another creation?
fn whose(mode: ClaimMode) -> &'static str {
    if mode.takes_over() { "ours" } else { "" }
}

/// The life of a value that has `left` milliseconds; unknown if that is negative.
pub(super) fn life_of(left: i64) -> Life {
    u64::try_from(left).map_or(Life::unknown(), |left| Life::of(Duration::from_millis(left)))
}

/// As the scripts have it.
pub(super) fn in_words(seen: Seen) -> String {
    match seen {
        Seen::Nothing => "nothing".to_owned(),
        Seen::Unreadable => "unreadable".to_owned(),
        Seen::Created(ct) => ct.to_string(),
    }
}

/// The beginning of the key of a mark, behind the key prefix; see [`own_mark_key`].
pub(super) const MARK: &str = "_mark{";

/// The key of the mark of `key`, which lies in the slot of that.
fn mark_of(prefix: &KeyPrefix, key: &str) -> String {
    let slot = slot::of(key);
    let mark = prefix.stored(&own_mark_key(key)).into_owned();
    if slot::of(&mark) == slot {
        return mark;
    }
    // Braces of the key's own hide it: a number in braces that lies there stands for it.
    const MANY: u32 = 1 << 24;
    let tag = (0..MANY).find(|number| slot::of(number.to_string()) == slot).unwrap_or(0);
    prefix.stored(&format!("_mark{{{tag}}}{key}")).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_lies_in_the_slot_of_its_key_and_is_no_other_keys() {
        let keys = ["k", "user:1", "a{b}c", "a{}b", "a}b", "}{", "{x", "{}", "", "a}b{c}", "x{y}}"];
        for prefix in ["", "app:", "{app}:"].map(KeyPrefix::new) {
            let mut marks = std::collections::HashSet::new();
            for key in keys.map(|key| prefix.stored(key)) {
                let mark = mark_of(&prefix, &key);
                assert_eq!(slot::of(&mark), slot::of(&*key), "{key}: {mark}");
                assert!(prefix.given(mark.as_bytes()).unwrap().starts_with(b"_mark{"));
                assert!(marks.insert(mark));
            }
        }
    }
}
