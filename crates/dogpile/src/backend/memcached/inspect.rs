//! Looking into the servers from outside, one after the other, by commands that
//! only the text protocol has.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use super::connect::{Address, Target};
use super::keys::without_mark;
use super::protocol::{Reply, Request};
use super::{Memcached, Shared};
use crate::backend::inspect::{Clear, HeldLock, Inspect, Inspecting, Key, KeyInfo, KeyPage};
use crate::backend::{Backend, BackendError};
use crate::remote::{holder, io};
use crate::value::{Entry, Payload};

/// The time that a server may take to go on with a listing.
const PATIENCE: Duration = Duration::from_secs(10);

/// No line of an answer is longer.
const LONGEST_LINE: u64 = 16 * 1024;

/// The number of looks at a server that is busy with other listings, and the pause between them.
const LOOKS: usize = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// Keys that are asked for or deleted at a time.
const TOGETHER: usize = 1_000;

impl Shared {
    /// Returns what `ask` gets from each server.
    async fn ask_each<A>(
        &self,
        ask: impl Fn(Target, Address) -> A,
    ) -> Result<Vec<(Address, Vec<String>)>, BackendError>
    where
        A: Future<Output = Result<Vec<String>, String>> + Send + 'static,
    {
        let mut all = Vec::new();
        for address in &self.target.addresses {
            let lines = io::spawn(ask(self.target.clone(), address.clone()))?.await;
            let wrong = |why: String| BackendError::unavailable(format!("{address}: {why}"));
            let lines = lines.map_err(BackendError::other)?.map_err(wrong)?;
            all.push((address.clone(), lines));
        }
        Ok(all)
    }

    /// All keys with the size of their items.
    async fn keys(&self) -> Result<Vec<KeyInfo>, BackendError> {
        let lines = self.ask_each(listing).await?;
        let lines = lines.into_iter().flat_map(|(_, lines)| lines);
        Ok(lines.filter_map(|line| key_of(&line)).collect())
    }

    /// The stored keys of values that begin with `prefix`. A value may lie under a key that
    /// looks like one of the library's own.
    async fn stored_keys(&self, prefix: &[u8]) -> Result<Vec<KeyInfo>, BackendError> {
        let mut keys = Vec::new();
        for info in self.keys().await? {
            let key = &info.key;
            let is_meant = key.as_bytes().starts_with(prefix);
            let is_own = key.to_str().is_some_and(|key| self.is_own(key));
            if is_meant && (!is_own || self.is_entry(key).await?) {
                keys.push(info);
            }
        }
        Ok(keys)
    }

    async fn remove_all(&self, keys: &[&str]) -> Result<(), BackendError> {
        for keys in keys.chunks(TOGETHER) {
            let remove = |&key| Request::Delete { key, number: None };
            self.change(keys.iter().map(remove).collect()).await?;
        }
        Ok(())
    }

    /// Ends the claims of all creations of keys that begin with `prefix`, also where nothing
    /// is stored yet.
    async fn remove_marks(&self, prefix: &[u8]) -> Result<(), BackendError> {
        let keys = self.keys().await?;
        let own = &self.options.key_prefix;
        let marks =
            keys.iter().filter_map(|info| info.key.to_str()).filter(|key| self.is_mark(key));
        let meant = marks.filter(|mark| without_mark(own, mark).as_bytes().starts_with(prefix));
        self.remove_all(&meant.collect::<Vec<_>>()).await
    }

    /// Is it an entry of a cache? Its header says so.
    async fn is_entry(&self, key: &Key) -> Result<bool, BackendError> {
        let Some(key) = key.to_str() else { return Ok(false) };
        let read = super::answer::found(self.servers.ask(Request::Get { key, value: true }).await)?;
        Ok(read.is_some_and(|entry| !matches!(entry.payload, Payload::Unreadable(_))))
    }
}

/// Returns a line for each item of a server.
///
/// The list comes from the server's hash table. A walk along the lists of what was used
/// last misses items that are locked or moved at that moment; servers before 1.6.7 know no
/// other.
async fn listing(target: Target, address: Address) -> Result<Vec<String>, String> {
    let mut looks = 1;
    loop {
        let listed = lines(&target, &address, "lru_crawler metadump hash\r\n").await;
        let Err(why) = &listed else { return listed };
        let is_unknown = why.starts_with("BADCLASS") || why.starts_with("CLIENT_ERROR");
        let is_busy = why.starts_with("BUSY") || why.contains("locked");
        if is_unknown {
            return lines(&target, &address, "lru_crawler metadump all\r\n").await;
        }
        if !is_busy || looks == LOOKS {
            return listed;
        }
        looks += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

/// Returns the lines of a server's answer until `END`.
async fn lines(target: &Target, address: &Address, command: &str) -> Result<Vec<String>, String> {
    let stream = target.open(address);
    let stream = tokio::time::timeout(PATIENCE, stream).await.map_err(|_| "no connection")??;
    let mut stream = BufReader::new(stream.into_any());
    let failed = |error: std::io::Error| error.to_string();
    stream.write_all(command.as_bytes()).await.map_err(failed)?;
    stream.flush().await.map_err(failed)?;
    let mut lines = Vec::new();
    loop {
        let mut line = Vec::new();
        let mut limited = (&mut stream).take(LONGEST_LINE);
        let read = tokio::time::timeout(PATIENCE, limited.read_until(b'\n', &mut line)).await;
        read.map_err(|_| "it does not go on")?.map_err(failed)?;
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        match line.as_str() {
            "END" => return Ok(lines),
            "" => return Err("it closes the connection".to_owned()),
            _ if is_refusal(&line) => return Err(line),
            _ => lines.push(line),
        }
    }
}

fn is_refusal(line: &str) -> bool {
    const REFUSALS: [&str; 5] = ["ERROR", "CLIENT_ERROR", "SERVER_ERROR", "BUSY", "BADCLASS"];
    REFUSALS.iter().any(|refusal| line.starts_with(refusal))
}

/// The key in a line such as `key=a%20b exp=-1 la=5 cas=7 fetch=no cls=1 size=63`.
fn key_of(line: &str) -> Option<KeyInfo> {
    let field =
        |name: &str| line.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
    let key = decode(field("key")?);
    Some(KeyInfo { key: key.into(), value_bytes: field("size").and_then(|size| size.parse().ok()) })
}

/// Undoes the percent signs of a URL.
fn decode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        let digits = after.get(..2).filter(|_| *byte == b'%');
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(decoded) => {
                bytes.push(decoded);
                rest = &after[2..];
            }
            None => bytes.push(*byte),
        }
    }
    bytes
}

impl Inspect for Memcached {
    /// All of them at once: a server lists them in no order that could be taken
    /// up again.
    fn keys<'a>(
        &'a self,
        prefix: &'a [u8],
        _after: Option<&'a [u8]>,
        _limit: usize,
    ) -> Inspecting<'a, KeyPage> {
        Box::pin(async move {
            let own = &self.0.options.key_prefix;
            let mut keys = Vec::new();
            for KeyInfo { key, value_bytes } in
                self.0.stored_keys(&own.stored_bytes(prefix)).await?
            {
                let key = own.given(key.as_bytes()).unwrap_or_default().to_vec().into();
                keys.push(KeyInfo { key, value_bytes });
            }
            Ok(KeyPage { keys, next: None })
        })
    }

    fn locks(&self) -> Inspecting<'_, Vec<HeldLock>> {
        Box::pin(async {
            let mut held = Vec::new();
            for KeyInfo { key: lock, .. } in self.0.keys().await? {
                let Some(lock) = lock.to_str() else { continue };
                let Some(stored) = lock.strip_prefix(&self.0.options.lock_prefix) else { continue };
                let key = stored.strip_prefix(self.0.options.key_prefix.as_str()).unwrap_or(stored);
                if self.0.is_entry(&lock.into()).await? {
                    continue;
                }
                let read = self.0.servers.ask(Request::Get { key: lock, value: true }).await?;
                if let Reply::Item { value, .. } = read {
                    let (holder, age) = holder(&value);
                    held.push(HeldLock { key: key.to_owned(), holder, age });
                }
            }
            Ok(held)
        })
    }

    fn info(&self) -> Inspecting<'_, Vec<(&'static str, Value)>> {
        Box::pin(async {
            let stats = |target: Target, address| async move {
                lines(&target, &address, "stats\r\n").await
            };
            let reports = self.0.ask_each(stats).await?;
            let find = |lines: &[String], name: &str| {
                let mut fields = lines.iter().filter_map(|line| line.strip_prefix("STAT "));
                let (_, value) =
                    fields.find_map(|field| field.split_once(' ').filter(|(n, _)| *n == name))?;
                Some(value.trim().to_owned())
            };
            let sum = |name: &str| {
                let number = |(_, lines): &(_, Vec<String>)| find(lines, name)?.parse::<u64>().ok();
                reports.iter().map(number).sum::<Option<u64>>()
            };
            let servers: Vec<String> =
                reports.iter().map(|(address, _)| address.to_string()).collect();
            let version = reports.first().and_then(|(_, lines)| find(lines, "version"));
            Ok(vec![
                ("backend", "memcached".into()),
                ("servers", servers.into()),
                ("version", version.into()),
                ("keys", sum("curr_items").into()),
                ("used_memory_bytes", sum("bytes").into()),
                ("max_memory_bytes", sum("limit_maxbytes").into()),
                ("evicted_keys", sum("evictions").into()),
                ("connections", sum("curr_connections").into()),
            ])
        })
    }

    fn entry<'a>(&'a self, key: &'a Key) -> Inspecting<'a, Option<Entry>> {
        Box::pin(async move { Backend::get(self, text(key)?).await })
    }

    fn delete<'a>(&'a self, keys: &'a [Key]) -> Inspecting<'a, ()> {
        Box::pin(async move {
            let keys = keys.iter().map(text).collect::<Result<Vec<_>, _>>()?;
            Backend::delete_multi(self, &keys).await
        })
    }

    fn clear<'a>(&'a self, what: Clear<'a>) -> Inspecting<'a, u64> {
        Box::pin(async move {
            // First, or what is stored between listing and removing would stay.
            let prefix = self.0.options.key_prefix.stored_bytes(what.prefix);
            self.0.remove_marks(&prefix).await?;
            let (mut meant, mut left) = (Vec::new(), 0);
            for KeyInfo { key, .. } in self.0.stored_keys(&prefix).await? {
                if what.all || self.0.is_entry(&key).await? {
                    meant.push(key);
                } else {
                    left += 1;
                }
            }
            let keys = meant.iter().map(text).collect::<Result<Vec<_>, _>>()?;
            self.0.remove_all(&keys).await?;
            Ok(left)
        })
    }
}

/// Other keys than text are listed only.
fn text(key: &Key) -> Result<&str, BackendError> {
    key.to_str().ok_or_else(|| BackendError::refused(format!("the key `{key}` is not UTF-8")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_in_a_dump() {
        let line = "key=check%3A%5Blist%2A01 exp=-1 la=5 cas=7 fetch=no cls=1 size=63";
        let info = key_of(line).unwrap();
        assert_eq!((info.key.to_str(), info.value_bytes), (Some("check:[list*01"), Some(63)));
        assert_eq!(decode("%zz%4%ff"), b"%zz%4\xff");
        assert!(key_of("no key").is_none());
    }
}
