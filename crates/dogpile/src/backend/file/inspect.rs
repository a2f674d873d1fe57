//! Looking into a cache file from outside.

use serde_json::Value;

use super::place::with_suffix;
use super::{File, database};
use crate::backend::inspect::{Clear, HeldLock, Inspect, Inspecting, Key, KeyInfo, KeyPage};
use crate::value::Entry;

impl Inspect for File {
    fn keys<'a>(
        &'a self,
        prefix: &'a [u8],
        after: Option<&'a [u8]>,
        limit: usize,
    ) -> Inspecting<'a, KeyPage> {
        let prefix = prefix.to_vec();
        let after = after.map(<[u8]>::to_vec);
        Box::pin(async move {
            let list = move |c: &_| database::list(c, &prefix, after.as_deref(), limit);
            let listed = self.shared()?.writer.ask(list).await?;
            let more = limit > 0 && listed.len() == limit;
            let next = listed.last().filter(|_| more).map(|last| last.key.clone());
            let keys = listed.into_iter().map(|found| KeyInfo {
                key: found.key.into(),
                value_bytes: Some(found.value_bytes),
            });
            Ok(KeyPage { keys: keys.collect(), next })
        })
    }

    fn locks(&self) -> Inspecting<'_, Vec<HeldLock>> {
        Box::pin(async { self.shared()?.locks()?.held() })
    }

    fn info(&self) -> Inspecting<'_, Vec<(&'static str, Value)>> {
        Box::pin(async {
            let options = self.0.options.clone();
            let path = self.0.path.clone();
            let now = options.clock.now();
            let read = |c: &_| Ok((database::size(c)?, database::oldest(c)?));
            let (size, oldest) = self.shared()?.writer.ask(read).await?;
            let on_disk = |suffix: &str| {
                std::fs::metadata(with_suffix(&path, suffix)).map_or(0, |found| found.len())
            };
            Ok(vec![
                ("backend", "file".into()),
                ("path", path.display().to_string().into()),
                ("entries", size.entries.into()),
                ("bytes", size.bytes.into()),
                ("max_bytes", options.max_bytes.into()),
                ("max_entries", options.max_entries.into()),
                ("oldest_age_seconds", oldest.map(|ct| (now - ct).max(0.0)).into()),
                ("file_bytes", on_disk("").into()),
                ("wal_bytes", on_disk("-wal").into()),
                ("sqlite", rusqlite::version().into()),
            ])
        })
    }

    fn entry<'a>(&'a self, key: &'a Key) -> Inspecting<'a, Option<Entry>> {
        let key = key.as_bytes().to_vec();
        Box::pin(async move {
            self.shared()?.writer.ask(move |connection| database::get(connection, &key)).await
        })
    }

    fn delete<'a>(&'a self, keys: &'a [Key]) -> Inspecting<'a, ()> {
        let keys = keys.to_vec();
        let delete = move |connection: &_| {
            keys.iter().try_for_each(|key| database::delete_of(connection, key.as_bytes()))
        };
        let ask = move |connection: &_| database::transaction(connection, &delete);
        Box::pin(async move { self.shared()?.writer.ask(ask).await })
    }

    fn clear<'a>(&'a self, what: Clear<'a>) -> Inspecting<'a, u64> {
        let prefix = what.prefix.to_vec();
        let clear = move |connection: &_| {
            if prefix.is_empty() {
                database::clear(connection)
            } else {
                database::clear_of(connection, &prefix)
            }
        };
        let ask = move |connection: &_| database::transaction(connection, &clear).map(|()| 0);
        Box::pin(async move { self.shared()?.writer.ask(ask).await })
    }
}
