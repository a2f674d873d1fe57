//! Looking into a server from outside. Over a cluster each node would have to
//! be asked; that is not done.

use std::time::Duration;

use redis::{Value, cmd};

use super::mutex::get;
use super::wire::Batch;
use super::{Redis, Shared};
use crate::backend::BackendError;
use crate::backend::inspect::{HeldLock, Inspect, Inspecting, KeyInfo, KeyPage};
use crate::clock::{Clock, SystemClock};

/// Keys that the server looks at for one page.
const SCANNED: usize = 1_000;

impl Shared {
    /// Some keys that match, and where the next ones begin.
    async fn scan(
        &self,
        pattern: &str,
        cursor: &str,
    ) -> Result<(Vec<String>, Option<String>), BackendError> {
        if self.target.is_cluster() {
            return Err(BackendError::other("a cluster cannot be listed: ask one of its nodes"));
        }
        let mut scan = cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(SCANNED);
        let answer = self.link.send(&scan).await?;
        let found: Result<(String, Vec<Vec<u8>>), _> = redis::from_redis_value(answer);
        let (next, keys) = found.map_err(BackendError::other)?;
        let keys = keys.iter().map(|key| String::from_utf8_lossy(key).into_owned());
        Ok((keys.collect(), (next != "0").then_some(next)))
    }

    /// The keys that match, all of them.
    async fn scan_all(&self, pattern: &str) -> Result<Vec<String>, BackendError> {
        let mut all = Vec::new();
        let mut cursor = Some("0".to_owned());
        while let Some(from) = cursor {
            let (keys, next) = self.scan(pattern, &from).await?;
            all.extend(keys);
            cursor = next;
        }
        Ok(all)
    }

    fn is_lock(&self, key: &str) -> bool {
        key.starts_with(&self.options.lock_prefix)
    }
}

/// `prefix` as a pattern that means only itself, and what follows it.
fn pattern(prefix: &str) -> String {
    let special = |c: char| matches!(c, '*' | '?' | '[' | ']' | '\\' | '^');
    let escaped = prefix.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c]));
    escaped.chain(['*']).collect()
}

/// Who took a lock and when, as far as the token says.
fn holder(token: &[u8]) -> (String, Option<Duration>) {
    let token = String::from_utf8_lossy(token);
    let ours = token.strip_prefix("dogpile-").and_then(|rest| {
        let (since, rest) = rest.split_once('-')?;
        let (process, _) = rest.split_once('-')?;
        Some((since.parse::<f64>().ok()?, process.parse::<u32>().ok()?))
    });
    match ours {
        Some((since, process)) => {
            let age = Duration::try_from_secs_f64((SystemClock.now() - since / 1e3).max(0.0)).ok();
            (format!("process {process}"), age)
        }
        None => (format!("token {}", token.chars().take(8).collect::<String>()), None),
    }
}

impl Inspect for Redis {
    fn keys<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        _limit: usize,
    ) -> Inspecting<'a, KeyPage> {
        Box::pin(async move {
            let (mut keys, next) = self.0.scan(&pattern(prefix), after.unwrap_or("0")).await?;
            keys.retain(|key| !self.0.is_lock(key));
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
            let mut facts =
                vec![("backend", "redis".into()), ("server", self.0.target.describe().into())];
            if self.0.target.is_cluster() {
                return Ok(facts);
            }
            let mut ask = Batch::new();
            ask.add("", cmd("DBSIZE")).add("", cmd("INFO"));
            let answers = self.0.link.send_all_or_fail(&ask).await?;
            if let Some(Value::Int(size)) = answers.first() {
                facts.push(("keys", (*size).into()));
            }
            let info: Option<String> =
                answers.into_iter().nth(1).and_then(|info| redis::from_redis_value(info).ok());
            let info = info.unwrap_or_default();
            let find = |name: &str| {
                let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
                line.map(|text| text.trim().to_owned())
            };
            let number = |name| find(name).and_then(|text| text.parse::<u64>().ok());
            facts.extend([
                ("version", find("redis_version").into()),
                ("role", find("role").into()),
                ("used_memory_bytes", number("used_memory").into()),
                ("max_memory_bytes", number("maxmemory").into()),
                ("max_memory_policy", find("maxmemory_policy").into()),
                ("evicted_keys", number("evicted_keys").into()),
                ("uptime_seconds", number("uptime_in_seconds").into()),
            ]);
            Ok(facts)
        })
    }

    fn clear(&self) -> Inspecting<'_, ()> {
        Box::pin(async {
            let mut cursor = Some("0".to_owned());
            while let Some(from) = cursor {
                let (keys, next) = self.0.scan("*", &from).await?;
                let mut remove = Batch::new();
                for key in keys.iter().filter(|key| !self.0.is_lock(key)) {
                    remove.add(key, cmd("UNLINK").arg(key).take());
                }
                self.0.send_changes(remove).await?;
                cursor = next;
            }
            Ok(())
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

    #[test]
    fn tokens_say_who_and_since_when() {
        let (who, age) = holder(crate::backend::redis::new_token().as_bytes());
        assert_eq!(who, format!("process {}", std::process::id()));
        assert!(age.unwrap() < Duration::from_secs(60));
        assert_eq!(holder(b"3f2a77d0aa11").0, "token 3f2a77d0");
    }
}
