//! The collections that lie in a store, of all names and versions.

use super::format::manifest;
use crate::backend::{AnyBackend, BackendError, CollectionPlace, CollectionStore};
use crate::clock::Timestamp;
use crate::value::Entry;

/// A version of a collection, as it lies in a store.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StoredCollection {
    /// Its name.
    pub name: String,
    /// The version of the application that it is for.
    pub version: String,
    /// The number of its revision.
    pub revision: u64,
    /// When that was pushed, in epoch seconds; unknown for Python's.
    pub pushed: Option<Timestamp>,
    /// The number of entries; unknown for Python's.
    pub entries: Option<u64>,
    /// The size of its data in bytes before compression; unknown for Python's.
    pub bytes: Option<u64>,
    /// The name of the codec it is written with; unknown for Python's.
    pub codec: Option<String>,
}

/// All collections that lie in `backend`, in the order of their names and then of
/// their last pushes.
///
/// # Errors
///
/// If the backend fails, or keeps no collections.
pub async fn list(backend: &AnyBackend) -> Result<Vec<StoredCollection>, BackendError> {
    const PAGE: usize = 1_000;
    let (Some(store), Some(inspect)) = (backend.collections(), backend.inspect()) else {
        return Err(backend.keeps_no_collections());
    };
    let mut found: Vec<StoredCollection> = Vec::new();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page =
            inspect.keys(CollectionPlace::prefix().as_bytes(), after.as_deref(), PAGE).await?;
        for key in &page.keys {
            let place = key.key.to_str().and_then(CollectionPlace::of_revision);
            let Some((name, version)) = place else { continue };
            // A server's cursor may come by a key twice.
            if !found.iter().any(|found| found.name == name && found.version == version) {
                found.extend(look(&*store, name, version).await?);
            }
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let pushed = |found: &StoredCollection| found.pushed.unwrap_or(f64::MIN);
    found.sort_by(|one, other| {
        one.name.cmp(&other.name).then(pushed(one).total_cmp(&pushed(other)))
    });
    Ok(found)
}

/// Removes one version of a collection; false if there was none.
///
/// # Errors
///
/// If the backend fails, or keeps no collections.
pub async fn purge(backend: &AnyBackend, name: &str, version: &str) -> Result<bool, BackendError> {
    let store = backend.collections().ok_or_else(|| backend.keeps_no_collections())?;
    store.purge(&store.place(name, version)).await
}

async fn look(
    store: &dyn CollectionStore,
    name: &str,
    version: &str,
) -> Result<Option<StoredCollection>, BackendError> {
    let Some((revision, data)) = store.read(&store.place(name, version)).await? else {
        return Ok(None);
    };
    let data = data.unwrap_or_default();
    let known = manifest(&data).ok().map(|(manifest, _)| manifest);
    let pushed = known.as_ref().map(|_| Entry::from_frame(&data).metadata.ct);
    Ok(Some(StoredCollection {
        name: name.to_owned(),
        version: version.to_owned(),
        revision,
        pushed,
        entries: known.as_ref().map(|known| known.entries),
        bytes: known.as_ref().map(|known| known.bytes),
        codec: known.map(|known| known.codec),
    }))
}
