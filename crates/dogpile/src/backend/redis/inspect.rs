//! Looking into the servers from outside, one after the other.

use redis::{Value, cmd};

use super::connection::{Answer, Batch};
use super::mark::MARK;
use super::{Redis, Shared};
use crate::backend::inspect::{Clear, HeldLock, Inspect, Inspecting, Key, KeyInfo, KeyPage};
use crate::backend::{Backend, BackendError};
use crate::remote::holder;
use crate::value::{Entry, Payload};

/// Keys that the server looks at for one page.
const SCANNED: usize = 1_000;

/// As much of a value as says whether it is an entry.
const HEAD: usize = 8 * 1024;

impl Shared {
    /// Some keys that match, and where the next ones begin: at a server's name
    /// and its cursor.
    async fn scan(
        &self,
        pattern: &[u8],
        after: Option<&[u8]>,
    ) -> Result<(Vec<Vec<u8>>, Option<Vec<u8>>), BackendError> {
        let nodes = self.nodes.whole().await?;
        let after = after.map(String::from_utf8_lossy).unwrap_or_default();
        let (name, cursor) = after.rsplit_once(' ').unwrap_or(("", "0"));
        // Of a server that has gone the next one takes over.
        let place = nodes.partition_point(|node| &*node.name < name);
        let Some(node) = nodes.get(place) else { return Ok((Vec::new(), None)) };
        let mut scan = cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(SCANNED);
        let answer = node.link.send(&scan).await.inspect_err(|_| self.nodes.forget())?;
        let found: Result<(String, Vec<Vec<u8>>), _> = redis::from_redis_value(answer);
        let (cursor, keys) = found.map_err(BackendError::other)?;
        let next = match nodes.get(place + 1) {
            _ if cursor != "0" => Some(format!("{} {cursor}", node.name)),
            Some(next) => Some(format!("{} 0", next.name)),
            None => None,
        };
        Ok((keys, next.map(String::into_bytes)))
    }

    /// The keys that match, all of them.
    async fn scan_all(&self, pattern: &[u8]) -> Result<Vec<Vec<u8>>, BackendError> {
        let (mut all, mut after) = self.scan(pattern, None).await?;
        while let Some(from) = after {
            let (keys, next) = self.scan(pattern, Some(&from)).await?;
            all.extend(keys);
            after = next;
        }
        Ok(all)
    }

    /// Ends the claims of all creations of keys that begin with `prefix`, also where nothing
    /// is stored yet.
    async fn remove_marks(&self, prefix: &[u8]) -> Result<(), BackendError> {
        let marks = pattern(&self.options.key_prefix.stored_bytes(MARK.as_bytes()));
        let mut after = None;
        loop {
            let (keys, next) = self.scan(&marks, after.as_deref()).await?;
            let meant = keys.into_iter().filter(|key| self.may_be_mark(key, prefix));
            let meant: Vec<_> = meant.collect();
            let are_entries = self.are_entries(&meant).await?;
            let mut remove = Batch::new();
            for (mark, _) in meant.iter().zip(are_entries).filter(|(_, is_entry)| !is_entry) {
                remove.add(mark, cmd("UNLINK").arg(mark).take());
            }
            self.send_changes(remove).await?;
            if next.is_none() {
                return Ok(());
            }
            after = next;
        }
    }

    /// Which of `keys` hold entries of a cache? Their headers say so.
    async fn are_entries(&self, keys: &[Vec<u8>]) -> Result<Vec<bool>, BackendError> {
        let mut heads = Batch::new();
        for key in keys {
            heads.add(key, cmd("GETRANGE").arg(key).arg(0).arg(HEAD).take());
        }
        if heads.is_empty() {
            return Ok(Vec::new());
        }
        let heads = self.strings(&heads).await?;
        let is_entry = |head: Option<Vec<u8>>| {
            let entry = head.map(|head| Entry::from_frame(&head.into()));
            entry.is_some_and(|entry| !matches!(entry.payload, Payload::Unreadable(_)))
        };
        Ok(heads.into_iter().map(is_entry).collect())
    }

    /// The strings that commands get, each of one key; `None` where there is another type, or
    /// nothing. What a server refuses is not known, and an error.
    async fn strings(&self, batch: &Batch) -> Result<Vec<Option<Vec<u8>>>, BackendError> {
        let string = |answer: Answer| match answer {
            Ok(Value::BulkString(bytes)) => Ok(Some(bytes)),
            Ok(_) => Ok(None),
            Err(error) if error.code() == Some("WRONGTYPE") => Ok(None),
            Err(error) => Err(self.link.backend_error(&error)),
        };
        self.link.send_all(batch).await?.into_iter().map(string).collect()
    }

    /// Splits keys into those of values, and those that the library has for itself: locks
    /// and marks. A value may lie under a key that looks like theirs.
    async fn values(&self, keys: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, BackendError> {
        let (own, mut values): (Vec<_>, Vec<_>) = keys.into_iter().partition(|k| self.is_own(k));
        let are_entries = self.are_entries(&own).await?;
        values.extend(own.into_iter().zip(are_entries).filter(|(_, is)| *is).map(|(key, _)| key));
        Ok(values)
    }

    /// Returns the report of each server.
    async fn reports(&self) -> Result<Vec<Report>, BackendError> {
        let mut reports = Vec::new();
        for node in self.nodes.whole().await?.iter() {
            let mut ask = Batch::new();
            ask.add("", cmd("DBSIZE")).add("", cmd("INFO"));
            let mut answers = node.link.send_all_or_fail(&ask).await?.into_iter();
            let keys = answers.next().and_then(|size| redis::from_redis_value(size).ok());
            let text = answers.next().and_then(|info| redis::from_redis_value(info).ok());
            reports.push(Report { keys: keys.unwrap_or(0), text: text.unwrap_or_default() });
        }
        Ok(reports)
    }

    fn is_own(&self, key: &[u8]) -> bool {
        key.starts_with(self.options.lock_prefix.as_bytes()) || self.is_mark(key)
    }
}

/// The report of a server.
struct Report {
    keys: i64,
    text: String,
}

impl Report {
    /// The line called `name`.
    fn find(&self, name: &str) -> Option<&str> {
        let mut lines = self.text.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }

    /// The name of the server's program and its version. Valkey tells the version of the Redis
    /// that it can replace as well.
    fn program(&self) -> (&'static str, Option<&str>) {
        match self.find("valkey_version") {
            Some(version) => ("valkey", Some(version)),
            None => ("redis", self.find("redis_version")),
        }
    }
}

/// As a number, if it is one.
fn number(text: &str) -> serde_json::Value {
    text.parse::<u64>().map_or_else(|_| text.into(), Into::into)
}

/// `prefix` as a pattern that means only itself, and what follows it.
fn pattern(prefix: &[u8]) -> Vec<u8> {
    let special = |byte: u8| matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\' | b'^');
    let escape = |&byte: &u8| special(byte).then_some(b'\\').into_iter().chain([byte]);
    prefix.iter().flat_map(escape).chain([b'*']).collect()
}

impl Inspect for Redis {
    fn keys<'a>(
        &'a self,
        prefix: &'a [u8],
        after: Option<&'a [u8]>,
        _limit: usize,
    ) -> Inspecting<'a, KeyPage> {
        Box::pin(async move {
            let own = &self.0.options.key_prefix;
            let (keys, next) = self.0.scan(&pattern(&own.stored_bytes(prefix)), after).await?;
            let keys = self.0.values(keys).await?;
            let mut lengths = Batch::new();
            for key in &keys {
                lengths.add(key, cmd("STRLEN").arg(key).take());
            }
            let lengths =
                if keys.is_empty() { Vec::new() } else { self.0.link.send_all(&lengths).await? };
            let keys = keys.into_iter().zip(lengths).map(|(key, length)| {
                let value_bytes = match length {
                    Ok(Value::Int(length)) => u64::try_from(length).ok(),
                    _ => None,
                };
                KeyInfo { key: own.given(&key).unwrap_or(&key).to_vec().into(), value_bytes }
            });
            Ok(KeyPage { keys: keys.collect(), next })
        })
    }

    fn locks(&self) -> Inspecting<'_, Vec<HeldLock>> {
        Box::pin(async {
            let prefix = &self.0.options.lock_prefix;
            let mut held = Vec::new();
            let locks = self.0.scan_all(&pattern(prefix.as_bytes())).await?;
            let are_entries = self.0.are_entries(&locks).await?;
            let locks = locks.into_iter().zip(are_entries).filter(|(_, is)| !is);
            let locks: Vec<_> = locks.map(|(lock, _)| lock).collect();
            let mut tokens = Batch::new();
            for lock in &locks {
                tokens.add(lock, cmd("GET").arg(lock).take());
            }
            let tokens =
                if tokens.is_empty() { Vec::new() } else { self.0.strings(&tokens).await? };
            for (lock, token) in locks.iter().zip(tokens) {
                // It has just been given up, or is another program's.
                let Some(token) = token else { continue };
                let stored = &lock[prefix.len()..];
                let key = self.0.options.key_prefix.given(stored).unwrap_or(stored);
                let key = String::from_utf8_lossy(key).into_owned();
                let (holder, age) = holder(&token);
                held.push(HeldLock { key, holder, age });
            }
            Ok(held)
        })
    }

    fn info(&self) -> Inspecting<'_, Vec<(&'static str, serde_json::Value)>> {
        Box::pin(async {
            let reports = self.0.reports().await?;
            let sum = |name| {
                let numbers = reports.iter().map(|report| report.find(name)?.parse::<u64>().ok());
                numbers.sum::<Option<u64>>()
            };
            let first = |name| reports.first()?.find(name);
            let (program, version) = reports.first().map(Report::program).unzip();
            let mut facts =
                vec![("backend", "redis".into()), ("server", self.0.target.describe().into())];
            if let [_, _, ..] = &reports[..] {
                facts.push(("masters", reports.len().into()));
            }
            facts.extend([
                ("keys", reports.iter().map(|report| report.keys).sum::<i64>().into()),
                ("program", program.into()),
                ("version", version.flatten().into()),
                ("role", first("role").into()),
                ("used_memory_bytes", sum("used_memory").into()),
                ("max_memory_bytes", sum("maxmemory").into()),
                ("max_memory_policy", first("maxmemory_policy").into()),
                ("evicted_keys", sum("evicted_keys").into()),
                ("uptime_seconds", first("uptime_in_seconds").map(number).into()),
            ]);
            Ok(facts)
        })
    }

    fn entry<'a>(&'a self, key: &'a Key) -> Inspecting<'a, Option<Entry>> {
        Box::pin(async move {
            let (mut get, key) =
                (Batch::new(), self.0.options.key_prefix.stored_bytes(key.as_bytes()));
            get.add(&key, cmd("GET").arg(&key).take());
            match self.0.link.send_all_or_fail(&get).await?.into_iter().next() {
                Some(Value::BulkString(frame)) => Ok(Some(Entry::from_frame(&frame.into()))),
                _ => Ok(None),
            }
        })
    }

    fn delete<'a>(&'a self, keys: &'a [Key]) -> Inspecting<'a, ()> {
        Box::pin(async move {
            let (text, other): (Vec<_>, Vec<_>) = keys.iter().partition(|k| k.to_str().is_some());
            // These may be being created.
            let text: Vec<&str> = text.into_iter().filter_map(Key::to_str).collect();
            Backend::delete_multi(self, &text).await?;
            let mut remove = Batch::new();
            for key in other {
                let key = self.0.options.key_prefix.stored_bytes(key.as_bytes());
                remove.add(&key, cmd("UNLINK").arg(&key).take());
            }
            self.0.send_changes(remove).await
        })
    }

    fn clear<'a>(&'a self, what: Clear<'a>) -> Inspecting<'a, u64> {
        Box::pin(async move {
            let stored = self.0.options.key_prefix.stored_bytes(what.prefix);
            let meant = pattern(&stored);
            // First, or what is stored between listing and removing would stay.
            self.0.remove_marks(&stored).await?;
            let (mut after, mut left) = (None, 0);
            loop {
                let (keys, next) = self.0.scan(&meant, after.as_deref()).await?;
                let keys = self.0.values(keys).await?;
                let are_entries = self.0.are_entries(&keys).await?;
                let mut remove = Batch::new();
                for (key, is_entry) in keys.iter().zip(are_entries) {
                    if what.all || is_entry {
                        remove.add(key, cmd("UNLINK").arg(key).take());
                    } else {
                        left += 1;
                    }
                }
                self.0.send_changes(remove).await?;
                if next.is_none() {
                    return Ok(left);
                }
                after = next;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_only_their_prefix() {
        assert_eq!(pattern(b"a*[b\xff"), b"a\\*\\[b\xff*");
        assert_eq!(pattern(b""), b"*");
    }
}
