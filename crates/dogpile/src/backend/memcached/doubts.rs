//! Values that a commit may have stored although its answer was lost.
//!
//! A server that was stopped, or a network that was held up, may carry a commit out long
//! after its time-out, when the change that ended its claim has returned. So what it was to
//! store is looked for, and removed when it is there, until it would have ended by itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Shared;
use super::answer::Answer;
use super::protocol::{Number, Reply, Request};
use crate::backend::BackendError;
use crate::remote::io;
use crate::sync::Mutex;

/// A value that may have been stored.
#[derive(Default)]
pub(super) struct Doubts(Mutex<State>);

#[derive(Default)]
struct State {
    doubts: Vec<Doubt>,
    /// There is a task that looks after them.
    is_looked_after: bool,
}

struct Doubt {
    key: String,
    value: Bytes,
    /// The item of this number is another one.
    another: Option<Number>,
    /// What has come by then ends by itself.
    until: Instant,
    /// So long it is looked for, also if its server does not answer.
    at_most: Instant,
}

/// As many are looked for. More have failed only while a server is away for long.
const MOST: usize = 4_096;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

impl Shared {
    /// Removes `value` once it is there, in the background.
    pub(super) fn withdraw_later(self: &Arc<Self>, key: &str, value: &Bytes) {
        let terms = self.options.terms;
        let until = later(self.unconfirmed());
        let at_most = later(terms.longest_creation.saturating_add(terms.lease));
        let (key, value) = (key.to_owned(), value.clone());
        let mut state = self.doubts.0.lock();
        if state.doubts.len() >= MOST {
            return;
        }
        state.doubts.push(Doubt { key, value, another: None, until, at_most });
        let is_first = !std::mem::replace(&mut state.is_looked_after, true);
        drop(state);
        if is_first && io::spawn(look_after(self.clone())).is_err() {
            *self.doubts.0.lock() = State::default();
        }
    }

    /// Looks for all of `doubts` once, and removes what is there of them.
    async fn look_for(&self, doubts: &mut [Doubt]) {
        let looks = doubts.iter().map(|doubt| doubt.looking(false)).collect();
        let answers = self.leases.ask_all(looks).await;
        let mut unknown = Vec::new();
        for (doubt, answer) in doubts.iter_mut().zip(answers) {
            match number_of(answer) {
                // It may come for as long once the server is there again.
                Err(_) => doubt.until = later(self.unconfirmed()).min(doubt.at_most),
                Ok(number) if number.is_some() && number != doubt.another => unknown.push(doubt),
                Ok(_) => {}
            }
        }
        let looks = unknown.iter().map(|doubt| doubt.looking(true)).collect();
        let answers = self.leases.ask_all(looks).await;
        let mut found = Vec::new();
        for (doubt, answer) in unknown.into_iter().zip(answers) {
            match answer {
                Ok(Reply::Item { number, value, .. }) if value == doubt.value => {
                    found.push(Request::Delete { key: &doubt.key, number: Some(number) });
                }
                Ok(Reply::Item { number, .. }) => doubt.another = Some(number),
                _ => {}
            }
        }
        // What fails is found again.
        self.leases.ask_all(found).await;
    }
}

impl Doubt {
    fn looking(&self, value: bool) -> Request<'_> {
        Request::Get { key: &self.key, value }
    }
}

/// The number of an item, if there is one.
fn number_of(answer: Answer) -> Result<Option<Number>, BackendError> {
    match answer? {
        Reply::Done { number } | Reply::Item { number, .. } => Ok(Some(number)),
        _ => Ok(None),
    }
}

/// The moment that is `time` from now.
fn later(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time).unwrap_or(now + Duration::from_secs(24 * 3_600))
}

/// Looks for what is in doubt again and again, until there is nothing left.
async fn look_after(shared: Arc<Shared>) {
    loop {
        let mut doubts = {
            let mut state = shared.doubts.0.lock();
            state.is_looked_after = !state.doubts.is_empty();
            std::mem::take(&mut state.doubts)
        };
        if doubts.is_empty() {
            return;
        }
        shared.look_for(&mut doubts).await;
        let now = Instant::now();
        doubts.retain(|doubt| now < doubt.until);
        shared.doubts.0.lock().doubts.extend(doubts);
        tokio::time::sleep(PAUSE).await;
    }
}
