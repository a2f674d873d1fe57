//! Looking into the servers from outside, one after the other.

use redis::{Value, cmd};

use super::claims::is_mark;
use super::mutex::get;
use super::wire::Batch;
use super::{Redis, Shared};
use crate::backend::BackendError;
use crate::backend::inspect::{HeldLock, Inspect, Inspecting, KeyInfo, KeyPage};
use crate::remote::holder;

/// Keys that the server looks at for one page.
const SCANNED: usize = 1_000;

impl Shared {
    /// Some keys that match, and where the next ones begin: at a server's name
    /// and its cursor.
    async fn scan(
        &self,
        pattern: &str,
        after: Option<&str>,
    ) -> Result<(Vec<String>, Option<String>), BackendError> {
        let nodes = self.nodes.all().await?;
        let (name, cursor) = after.and_then(|after| after.rsplit_once(' ')).unwrap_or(("", "0"));
        // Of a server that has gone the next one takes over.
        let place = nodes.partition_point(|node| &*node.name < name);
        let Some(node) = nodes.get(place) else { return Ok((Vec::new(), None)) };
        let mut scan = cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(SCANNED);
        let answer = node.link.send(&scan).await.inspect_err(|_| self.nodes.forget())?;
        let found: Result<(String, Vec<Vec<u8>>), _> = redis::from_redis_value(answer);
        let (cursor, keys) = found.map_err(BackendError::other)?;
        let keys = keys.iter().map(|key| String::from_utf8_lossy(key).into_owned());
        let next = match nodes.get(place + 1) {
            _ if cursor != "0" => Some(format!("{} {cursor}", node.name)),
            Some(next) => Some(format!("{} 0", next.name)),
            None => None,
        };
        Ok((keys.collect(), next))
    }

    /// The keys that match, all of them.
    async fn scan_all(&self, pattern: &str) -> Result<Vec<String>, BackendError> {
        let (mut all, mut after) = self.scan(pattern, None).await?;
        while let Some(from) = after {
            let (keys, next) = self.scan(pattern, Some(&from)).await?;
            all.extend(keys);
            after = next;
        }
        Ok(all)
    }

    /// What each server tells of itself.
    async fn reports(&self) -> Result<Vec<Report>, BackendError> {
        let mut reports = Vec::new();
        for node in self.nodes.all().await?.iter() {
            let mut ask = Batch::new();
            ask.add("", cmd("DBSIZE")).add("", cmd("INFO"));
            let mut answers = node.link.send_all_or_fail(&ask).await?.into_iter();
            let keys = answers.next().and_then(|size| redis::from_redis_value(size).ok());
            let text = answers.next().and_then(|info| redis::from_redis_value(info).ok());
            reports.push(Report { keys: keys.unwrap_or(0), text: text.unwrap_or_default() });
        }
        Ok(reports)
    }

    fn is_own(&self, key: &str) -> bool {
        self.is_lock(key) || is_mark(key)
    }

    fn is_lock(&self, key: &str) -> bool {
        key.starts_with(&self.options.lock_prefix)
    }
}

/// What a server tells of itself.
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
}

/// As a number, if it is one.
fn number(text: &str) -> serde_json::Value {
    text.parse::<u64>().map_or_else(|_| text.into(), Into::into)
}

/// `prefix` as a pattern that means only itself, and what follows it.
fn pattern(prefix: &str) -> String {
    let special = |c: char| matches!(c, '*' | '?' | '[' | ']' | '\\' | '^');
    let escaped = prefix.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c]));
    escaped.chain(['*']).collect()
}

impl Inspect for Redis {
    fn keys<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        _limit: usize,
    ) -> Inspecting<'a, KeyPage> {
        Box::pin(async move {
            let (mut keys, next) = self.0.scan(&pattern(prefix), after).await?;
            keys.retain(|key| !self.0.is_own(key));
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
                KeyInfo { key, value_bytes }
            });
            Ok(KeyPage { keys: keys.collect(), next })
        })
    }

    fn locks(&self) -> Inspecting<'_, Vec<HeldLock>> {
        Box::pin(async {
            let prefix = &self.0.options.lock_prefix;
            let mut held = Vec::new();
            for lock in self.0.scan_all(&pattern(prefix)).await? {
                if let Value::BulkString(token) = self.0.link.send(&get(&lock)).await? {
                    let (holder, age) = holder(&token);
                    held.push(HeldLock { key: lock[prefix.len()..].to_owned(), holder, age });
                }
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
            let mut facts =
                vec![("backend", "redis".into()), ("server", self.0.target.describe().into())];
            if let [_, _, ..] = &reports[..] {
                facts.push(("masters", reports.len().into()));
            }
            facts.extend([
                ("keys", reports.iter().map(|report| report.keys).sum::<i64>().into()),
                ("version", first("redis_version").into()),
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

    fn clear(&self) -> Inspecting<'_, ()> {
        Box::pin(async {
            let mut after = None;
            loop {
                let (keys, next) = self.0.scan("*", after.as_deref()).await?;
                let mut remove = Batch::new();
                for key in keys.iter().filter(|key| !self.0.is_lock(key)) {
                    remove.add(key, cmd("UNLINK").arg(key).take());
                }
                self.0.send_changes(remove).await?;
                if next.is_none() {
                    return Ok(());
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
        assert_eq!(pattern("a*[b"), r"a\*\[b*");
        assert_eq!(pattern(""), "*");
    }
}
