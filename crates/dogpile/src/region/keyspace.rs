//! A view of one function's keys and type.

use std::fmt::{self, Display, Write};
use std::future::Future;
use std::marker::PhantomData;

use super::at_hand::{AtHand, Read};
use super::kind::{Cacheable, Kind, Only, Serialized};
use super::lookup::{Answer, CachedValue, Plain, Shape};
use super::options::Always;
use super::values::BoxFuture;
use super::{Entries, Entry, Region};
use crate::error::{CreateError, Result};
use crate::key::KeyBuffer;

/// The keys of a region that begin with one prefix and hold values of one
/// type `T`, each named by a `Q`. Made by [`Region::keyspace`](crate::Region::keyspace);
/// cheap to make and to copy.
///
/// The key of `q` is `prefix:q`, with `q` as its `Display` shows it: two
/// different `Q`s must not look the same, or they share an entry. A colon or a backslash
/// within the prefix has a backslash before it, so that `keyspace("a:b")` with `c` and `keyspace("a")`
/// with `b:c` have different keys.
pub struct Keyspace<'r, Q, T, K = Serialized> {
    region: &'r Region<K>,
    prefix: &'r str,
    /// The prefix and the colon, unless they are long, or something in them is to be escaped.
    words: Option<Words>,
    types: PhantomData<fn(Q) -> T>,
}

impl<'r, Q, T, K> Keyspace<'r, Q, T, K> {
    pub(super) const fn new(region: &'r Region<K>, prefix: &'r str) -> Self {
        Self { region, prefix, words: Words::of(prefix.as_bytes()), types: PhantomData }
    }
}

/// The characters of a prefix that are to be escaped.
const ESCAPED: [char; 2] = [':', '\\'];

/// A text of at most two words, which is written at once.
#[derive(Clone, Copy)]
struct Words {
    words: [u64; 2],
    length: usize,
}

impl Words {
    /// Returns a prefix with its colon, if they fit, and nothing is to be escaped.
    const fn of(prefix: &[u8]) -> Option<Self> {
        const LONGEST: usize = 15;
        if prefix.len() > LONGEST {
            return None;
        }
        let mut bytes = [0; LONGEST + 1];
        let mut at = 0;
        while at < prefix.len() {
            if matches!(prefix[at], b':' | b'\\') {
                return None;
            }
            bytes[at] = prefix[at];
            at += 1;
        }
        bytes[at] = b':';
        let both = u128::from_le_bytes(bytes);
        #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
        let words = [both as u64, (both >> 64) as u64];
        Some(Self { words, length: at + 1 })
    }
}

fn write_escaped(prefix: &str, into: &mut impl Write) -> fmt::Result {
    for piece in prefix.split_inclusive(ESCAPED) {
        let plain = piece.trim_end_matches(ESCAPED);
        into.write_str(plain)?;
        if let Some(escaped) = piece[plain.len()..].chars().next() {
            write!(into, "\\{escaped}")?;
        }
    }
    Ok(())
}

/// Writes a key as its `Display` shows it. Numbers are written without that, whose machinery would be a
/// fifth of a hit.
#[inline]
fn write_name<Q: Display>(key: &Q, into: &mut KeyBuffer) -> fmt::Result {
    #[cfg(feature = "memory")]
    if let Some(number) = crate::key::as_number(key) {
        into.write_number(number);
        return Ok(());
    }
    // The key itself, not a reference to it, which would be one more `Display` on the way.
    into.write_fmt(format_args!("{}", *key))
}

impl<'r, Q: Display, T: Cacheable<K>, K: Kind> Keyspace<'r, Q, T, K> {
    /// Returns the region's key for `key`.
    ///
    /// # Panics
    ///
    /// If the `Display` of `key` returns an error, as `to_string` does.
    pub fn key(&self, key: &Q) -> String {
        let mut text = String::with_capacity(self.prefix.len() + 16);
        // A `Display` that fails is a mistake of its author, as in `format!`.
        self.write(key, &mut text).expect("a `Display` implementation returned an error");
        text
    }

    fn write(&self, key: &Q, into: &mut impl Write) -> fmt::Result {
        write_escaped(self.prefix, into)?;
        into.write_char(':')?;
        write!(into, "{key}")
    }

    /// One key, for a call with options of its own.
    ///
    /// ```compile_fail
    /// # let region = dogpile::Region::new("r");
    /// let names = region.keyspace::<u64, String>("name");
    /// let number = names.entry(&42).get_or_create(async || 42_u32);
    /// ```
    pub fn entry(&self, key: &Q) -> Entry<'r, K, Plain, Always, Only<T>> {
        Entry::new(self.region, self.key(key).into())
    }

    /// Several keys, for a call with options of its own.
    pub fn entries<'q>(
        &self,
        keys: impl IntoIterator<Item = &'q Q>,
    ) -> Entries<'r, K, Always, Only<T>>
    where
        Q: 'q,
    {
        Entries::new(self.region, keys.into_iter().map(|key| self.key(key)).collect())
    }

    /// The hit path, without a key on the heap.
    fn hit_now(&self, key: &Q) -> Option<T> {
        let mut buffer = KeyBuffer::new();
        let written = match self.words {
            Some(Words { words, length }) => {
                buffer.write_words(words, length);
                write_name(key, &mut buffer)
            }
            None => self.write(key, &mut buffer),
        };
        // A `Display` that fails gets to the error by the long way.
        written.ok()?;
        self.region.value_now(buffer.asked())
    }

    /// See [`Region::get_or_create`](crate::Region::get_or_create).
    #[doc(alias = "get_with")]
    pub async fn get_or_create<F, Fut>(&self, key: &Q, creator: F) -> T
    where
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = T> + Send,
    {
        if let Some(hit) = self.hit_now(key) {
            return hit;
        }
        let created = Box::pin(self.entry(key).create_infallibly(creator)).await;
        Plain::one(created.map(Answer::into_value))
    }

    /// See [`Region::try_get_or_create`](crate::Region::try_get_or_create).
    #[doc(alias = "try_get_with")]
    pub async fn try_get_or_create<E, F, Fut>(&self, key: &Q, creator: F) -> Result<T, E>
    where
        E: Send,
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
    {
        if let Some(hit) = self.hit_now(key) {
            return Ok(hit);
        }
        let created = Box::pin(self.entry(key).create(creator)).await;
        Plain::tried(created.map(Answer::into_value))
    }

    /// See [`Region::get_or_create_multi`](crate::Region::get_or_create_multi);
    /// the creator gets the `Q`s themselves.
    pub async fn get_or_create_multi<F, Fut>(&self, keys: &[Q], mut creator: F) -> Result<Vec<T>>
    where
        Q: Clone + Send + Sync,
        F: FnMut(Vec<Q>) -> Fut + Send,
        Fut: Future<Output = Vec<T>> + Send,
    {
        self.entries(keys).get_or_create(|names| creator(self.named(keys, &names))).await
    }

    /// See
    /// [`Region::try_get_or_create_multi`](crate::Region::try_get_or_create_multi);
    /// the creator gets the `Q`s themselves.
    pub async fn try_get_or_create_multi<E, F, Fut>(
        &self,
        keys: &[Q],
        mut creator: F,
    ) -> Result<Vec<T>, CreateError<E>>
    where
        Q: Clone + Send + Sync,
        E: Send,
        F: FnMut(Vec<Q>) -> Fut + Send,
        Fut: Future<Output = Result<Vec<T>, E>> + Send,
    {
        self.entries(keys).try_get_or_create(|names| creator(self.named(keys, &names))).await
    }

    /// Those of `keys` whose region keys are `names`, in the order of `names`.
    fn named(&self, keys: &[Q], names: &[String]) -> Vec<Q>
    where
        Q: Clone,
    {
        let all: std::collections::HashMap<String, &Q> =
            keys.iter().map(|key| (self.key(key), key)).collect();
        names.iter().filter_map(|name| all.get(name).map(|&key| key.clone())).collect()
    }

    /// See [`Region::get`](crate::Region::get).
    pub fn get<'c>(&'c self, key: &'c Q) -> impl Future<Output = Result<Option<T>>> {
        AtHand::new(Get { keys: self, key })
    }

    /// See [`Region::get_with_metadata`](crate::Region::get_with_metadata).
    #[doc(alias = "get_value_metadata")]
    pub async fn get_with_metadata(&self, key: &Q) -> Result<Option<CachedValue<T>>> {
        self.entry(key).get_with_metadata().await
    }

    /// See [`Region::set`](crate::Region::set).
    #[doc(alias = "insert")]
    pub async fn set(&self, key: &Q, value: &T) -> Result<()> {
        self.entry(key).set(value).await
    }

    /// See [`Region::delete`](crate::Region::delete).
    #[doc(alias("invalidate", "remove"))]
    pub async fn delete(&self, key: &Q) -> Result<()> {
        self.entry(key).delete().await
    }

    /// See [`Region::expire`](crate::Region::expire).
    pub async fn expire(&self, key: &Q) -> Result<()> {
        self.entry(key).expire().await
    }
}

/// See [`Keyspace::get`].
struct Get<'c, 'r, Q, T, K> {
    keys: &'c Keyspace<'r, Q, T, K>,
    key: &'c Q,
}

impl<'c, Q: Display, T: Cacheable<K>, K: Kind> Read<'c> for Get<'c, '_, Q, T, K> {
    type Found = Option<T>;

    #[inline]
    fn now(&self) -> Option<Option<T>> {
        self.keys.hit_now(self.key).map(Some)
    }

    fn later(&self) -> BoxFuture<'c, Result<Option<T>>> {
        self.keys.region.get_boxed(self.keys.key(self.key).into())
    }
}

impl<Q, T, K> Clone for Keyspace<'_, Q, T, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Q, T, K> Copy for Keyspace<'_, Q, T, K> {}

impl<Q, T, K> fmt::Debug for Keyspace<'_, Q, T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyspace")
            .field("region", &self.region)
            .field("prefix", &self.prefix)
            .finish()
    }
}
