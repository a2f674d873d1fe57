//! Collections on a Redis server: data and revision under Python's keys, parts in
//! a hash beside them.
//!
//! | key | holds |
//! |---|---|
//! | `.data` | the data, or what says where they are |
//! | `.revision` | the number of the revision |
//! | `.parts` | the parts of that revision, if there are any |
//! | `.before` | those of the one before, for who is still reading them |
//! | `.upload.ID` | parts on their way |

use std::time::Duration;

use bytes::Bytes;
use redis::{Cmd, Value, cmd};

use super::connection::Batch;
use super::lock::{Held, Locks, get, is_held_by};
use super::scripts::{Call, PUBLISH, has_code};
use super::{Redis, Shared};
use crate::backend::{
    BackendError, Changed, CollectionPlace, CollectionStore, Storing, Upload, Watch,
    revision_number,
};
use crate::lock::{AnyMutex, Lease};

/// Parts that nobody publishes are gone after this long without another one.
const UPLOAD: Duration = Duration::from_secs(60);

/// Whoever is reading the revision before has this long to finish.
const BEFORE: Duration = Duration::from_secs(20);

/// The keys of the parts.
struct Parts {
    current: String,
    before: String,
}

impl Parts {
    fn of(place: &CollectionPlace) -> Self {
        Self { current: place.key(".parts"), before: place.key(".before") }
    }
}

fn upload_key(place: &CollectionPlace, upload: &str) -> String {
    place.key(&format!(".upload.{upload}"))
}

/// A part's name within its hash: nobody takes another upload's for it.
fn field(upload: &str, index: u32) -> String {
    format!("{upload}.{index}")
}

fn parts_are_gone() -> BackendError {
    BackendError::other(
        "parts of the collection were gone before they could be published: the server has evicted \
         them, or they were not written within a minute of each other",
    )
}

/// As much of a number as is one.
fn number(value: &Value) -> Option<u64> {
    match value {
        Value::BulkString(text) => revision_number(text),
        Value::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

impl Shared {
    /// Returns the keys of `place` as the server has them.
    fn on_server(&self, place: &CollectionPlace) -> CollectionPlace {
        place.behind(self.options.key_prefix.as_str())
    }

    async fn publish(
        &self,
        place: &CollectionPlace,
        data: &Bytes,
        upload: Option<Upload<'_>>,
        above: u64,
        held: Option<&Held>,
    ) -> Result<Option<u64>, BackendError> {
        let (data_key, revision_key) = (place.data(), place.revision());
        let Parts { current, before } = Parts::of(place);
        let uploaded = upload.map(|upload| upload_key(place, upload.id)).unwrap_or_default();
        let (lock, token) = held.map_or(("", ""), |held| (&held.token.lock, &held.token.value));
        // Every key must be in the slot of the others, also one that is not used.
        let or_data = |key| if str::is_empty(key) { &*data_key } else { key };
        let keys =
            [&*data_key, &revision_key, &current, &before, or_data(&uploaded), or_data(lock)];
        let parts = upload.map_or(0, |upload| upload.parts);
        let numbers = [above, BEFORE.as_secs(), parts.into()];
        let mut arguments = vec![data.clone(), token.to_owned().into()];
        arguments.extend(numbers.map(|number| Bytes::from(number.to_string())));
        let call = Call::of(&PUBLISH, keys.map(str::to_owned).to_vec(), arguments);
        if let Some(answer) = self.run_with_data(&call, data.len()).await? {
            return match answer {
                Value::Int(-1) => Ok(None),
                Value::Int(-2) => Err(parts_are_gone()),
                Value::Int(number) => Ok(u64::try_from(number).ok()),
                _ => Err(BackendError::other("the server gives a strange answer to a script")),
            };
        }
        if let Some(held) = held
            && !is_held_by(&self.link, &held.token.lock, &held.token.value).await?
        {
            return Ok(None);
        }
        let number = self.publish_plainly(place, data, upload, above).await?;
        if let Some(held) = held {
            self.unlock(&held.token).await?;
        }
        Ok(Some(number))
    }

    /// Runs a script that `bytes` are sent to; `None` if the server refuses scripts.
    async fn run_with_data(
        &self,
        call: &Call,
        bytes: usize,
    ) -> Result<Option<Value>, BackendError> {
        if self.refuses_scripts.is_known() {
            return Ok(None);
        }
        let mut answer = self.bulk.ask_for(&call.by_hash(), bytes).await?;
        if has_code(&answer, "NOSCRIPT") {
            answer = self.bulk.ask_for(&call.in_full(), bytes).await?;
        }
        if self.refuses_scripts.is_in(&answer) {
            return Ok(None);
        }
        answer.map(Some).map_err(|error| self.bulk.backend_error(&error))
    }

    /// Returns the length in the answer to `command`; none if it is of
    /// another kind.
    async fn length(&self, command: &Cmd) -> Result<usize, BackendError> {
        let length = self.link.ask(command).await?.ok().as_ref().and_then(number).unwrap_or(0);
        Ok(usize::try_from(length).unwrap_or(usize::MAX))
    }

    /// In plain commands, between the check of the lock and its release. Each may be
    /// carried out twice, and if this ends in the middle, the revision before is there:
    /// its parts are found in either place.
    async fn publish_plainly(
        &self,
        place: &CollectionPlace,
        data: &[u8],
        upload: Option<Upload<'_>>,
        above: u64,
    ) -> Result<u64, BackendError> {
        let (data_key, revision_key) = (place.data(), place.revision());
        let Parts { current, before } = Parts::of(place);
        let uploaded = upload.map(|upload| (upload_key(place, upload.id), upload.parts));
        if let Some((key, parts)) = &uploaded
            && self.link.ask(cmd("HLEN").arg(key)).await?.ok() != Some(Value::Int((*parts).into()))
        {
            return Err(parts_are_gone());
        }
        let stored = self.link.ask(&get(&revision_key)).await?.ok().as_ref().and_then(number);
        let next = stored.unwrap_or(0).max(above) + 1;
        // By itself: said again after the other step, it would move the new parts.
        match self.link.ask(cmd("RENAME").arg(&current).arg(&before)).await? {
            Err(error) if error.code() != Some("ERR") => {
                return Err(self.link.backend_error(&error));
            }
            // There may be none.
            _ => {}
        }
        let mut steps = Batch::new();
        steps.add(&data_key, cmd("MULTI"));
        steps.add(&data_key, cmd("EXPIRE").arg(&before).arg(BEFORE.as_secs()).take());
        if let Some((key, _)) = &uploaded {
            steps.add(&data_key, cmd("RENAME").arg(key).arg(&current).take());
            steps.add(&data_key, cmd("PERSIST").arg(&current).take());
        }
        steps.add(&data_key, cmd("SET").arg(&data_key).arg(data).take());
        steps.add(&data_key, cmd("SET").arg(&revision_key).arg(next).take());
        steps.add(&data_key, cmd("EXEC"));
        match self.bulk.send_all_of(&steps, data.len()).await?.pop() {
            Some(Ok(Value::Array(done))) if done.ends_with(&[Value::Okay, Value::Okay]) => Ok(next),
            Some(Err(error)) => Err(self.bulk.backend_error(&error)),
            _ => Err(BackendError::other("the transaction came to nothing")),
        }
    }
}

impl CollectionStore for Redis {
    fn place(&self, name: &str, version: &str) -> CollectionPlace {
        if self.0.target.is_cluster() {
            CollectionPlace::in_one_slot(name, version)
        } else {
            CollectionPlace::new(name, version)
        }
    }

    fn revision<'a>(&'a self, place: &'a CollectionPlace) -> Storing<'a, Option<u64>> {
        Box::pin(async move {
            let place = self.0.on_server(place);
            let get = cmd("GET").arg(place.revision()).take();
            match self.0.link.ask(&get).await? {
                Ok(value) => Ok(number(&value)),
                Err(error) if error.code() == Some("WRONGTYPE") => Ok(None),
                Err(error) => Err(self.0.link.backend_error(&error)),
            }
        })
    }

    fn read<'a>(&'a self, place: &'a CollectionPlace) -> Storing<'a, Option<(u64, Option<Bytes>)>> {
        Box::pin(async move {
            let place = self.0.on_server(place);
            let both = cmd("MGET").arg(place.revision()).arg(place.data()).take();
            let bytes = self.0.length(cmd("STRLEN").arg(place.data())).await?;
            let answers = match self.0.bulk.ask_for(&both, bytes).await? {
                Ok(Value::Array(answers)) => answers,
                Ok(_) => return Err(BackendError::other("MGET is not answered by a list")),
                Err(error) => return Err(self.0.bulk.backend_error(&error)),
            };
            let mut answers = answers.into_iter();
            let number = answers.next().as_ref().and_then(number);
            let data = match answers.next() {
                Some(Value::BulkString(data)) => Some(data.into()),
                _ => None,
            };
            Ok(number.map(|number| (number, data)))
        })
    }

    fn read_part<'a>(
        &'a self,
        place: &'a CollectionPlace,
        upload: &'a str,
        index: u32,
    ) -> Storing<'a, Option<Bytes>> {
        Box::pin(async move {
            let (parts, field) = (Parts::of(&self.0.on_server(place)), field(upload, index));
            // It may move from one to the other between two requests.
            for key in [&parts.current, &parts.before] {
                let bytes = self.0.length(cmd("HSTRLEN").arg(key).arg(&field)).await?;
                if bytes == 0 {
                    continue;
                }
                let found = self.0.bulk.ask_for(cmd("HGET").arg(key).arg(&field), bytes).await?;
                if let Value::BulkString(part) =
                    found.map_err(|error| self.0.bulk.backend_error(&error))?
                {
                    return Ok(Some(part.into()));
                }
            }
            Ok(None)
        })
    }

    fn write_part<'a>(
        &'a self,
        place: &'a CollectionPlace,
        upload: &'a str,
        index: u32,
        part: Bytes,
    ) -> Storing<'a, ()> {
        Box::pin(async move {
            let key = upload_key(&self.0.on_server(place), upload);
            let mut write = Batch::new();
            write.add(&key, cmd("HSET").arg(&key).arg(field(upload, index)).arg(&part[..]).take());
            write.add(&key, cmd("EXPIRE").arg(&key).arg(UPLOAD.as_secs()).take());
            let written = self.0.bulk.send_all_of(&write, part.len()).await?;
            let failed = written.into_iter().find_map(Result::err);
            failed.map_or(Ok(()), |error| Err(self.0.bulk.backend_error(&error)))
        })
    }

    fn publish<'a>(
        &'a self,
        place: &'a CollectionPlace,
        data: Bytes,
        upload: Option<Upload<'a>>,
        above: u64,
        lease: Lease,
    ) -> Storing<'a, Option<u64>> {
        Box::pin(async move {
            let (held, place) = (lease.into_inner::<Held>().ok(), self.0.on_server(place));
            let published = self.0.publish(&place, &data, upload, above, held.as_ref()).await;
            if let (Some(held), Ok(_)) = (&held, &published) {
                held.mark_released();
            }
            // Of a failure nobody knows what became of the lock: dropping it releases it.
            published
        })
    }

    fn purge<'a>(&'a self, place: &'a CollectionPlace) -> Storing<'a, bool> {
        Box::pin(async move {
            let place = self.0.on_server(place);
            let Parts { current, before } = Parts::of(&place);
            let all = [place.data(), place.revision(), current, before];
            let removed = self.0.link.send(cmd("DEL").arg(&all)).await?;
            Ok(number(&removed).is_some_and(|removed| removed > 0))
        })
    }

    fn mutex(&self, load: Duration) -> AnyMutex {
        if self.0.options.locks {
            AnyMutex::new(Locks::new(&self.0, load))
        } else {
            AnyMutex::new(self.0.local_locks.clone())
        }
    }

    fn watch(&self, place: &CollectionPlace, changed: Changed) -> Option<Watch> {
        self.0.tracker.as_ref()?.watch(&self.0.on_server(place).revision(), changed).ok()
    }
}
