//! Keys: how a region turns the caller's key into the one that is stored, and
//! what the keys of decorated functions are made of.

mod buffer;
mod digits;
mod function;
mod hash;
#[cfg(feature = "memory")]
mod number;
mod part;
mod std_parts;
mod text;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

#[cfg(feature = "macros")]
pub(crate) use buffer::Short;
pub(crate) use buffer::{AskedKey, KeyBuffer};
/// Implements [`trait@KeyPart`] for a struct or an enum: what all its fields say.
///
/// ```
/// use dogpile::key::KeyPart;
///
/// #[derive(KeyPart)]
/// struct Page {
///     number: u32,
///     order: Order,
///     #[key_part(skip)]
///     trace_id: String,
/// }
///
/// #[derive(KeyPart)]
/// enum Order {
///     Newest,
///     Field { name: String, descending: bool },
/// }
/// ```
///
/// Fields are of types with [`trait@KeyPart`] or `Display`, or options, sequences and so on of
/// such. `#[key_part(skip)]` leaves a field out: two values that differ in it share their
/// entry. A struct of one unnamed field looks like the field; a variant without fields is
/// written by its name. `#[key_part(crate = path)]` is for crates that re-export this one or
/// have it by another name.
#[cfg(feature = "macros")]
pub use dogpile_macros::KeyPart;
pub use function::{FunctionKey, KeyGenerator, escaped, python, python_by_name};
pub(crate) use hash::{KeyHashes, hash_of};
#[cfg(feature = "memory")]
pub(crate) use number::as_number;
pub use part::Displayed;
pub use text::{KeyPart, KeyText};

/// Changes a key on its way to the backend. It must be deterministic, and two
/// keys must not become one.
///
/// Any `Fn(&str) -> String` is one; the built-in ones are functions of this
/// module.
#[derive(Clone)]
pub struct Mangler(Arc<Mangle>);

type Mangle = dyn Fn(&str) -> Cow<'_, str> + Send + Sync;

impl Mangler {
    /// A mangler out of a function that always makes a new key.
    pub fn new(mangle: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self(Arc::new(move |key| Cow::Owned(mangle(key))))
    }

    /// The key to store `key` under.
    pub fn mangle<'k>(&self, key: &'k str) -> Cow<'k, str> {
        (self.0)(key)
    }

    /// Applies `self` first, then `next`.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        Self(Arc::new(move |key| match self.mangle(key) {
            Cow::Borrowed(key) => next.mangle(key),
            Cow::Owned(key) => Cow::Owned(next.mangle(&key).into_owned()),
        }))
    }
}

impl fmt::Debug for Mangler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mangler")
    }
}

/// Puts `prefix` before every key.
///
/// ```
/// let mangler = dogpile::key::prefix("shop:");
/// assert_eq!(mangler.mangle("user:42"), "shop:user:42");
/// ```
pub fn prefix(prefix: impl Into<String>) -> Mangler {
    let prefix = prefix.into();
    Mangler::new(move |key| format!("{prefix}{key}"))
}

/// Puts the name of a region and a colon before every key. Names are escaped so that no
/// region's keys begin with another's prefix, or look like a lock or a mark.
pub(crate) fn of_region(name: &str) -> Mangler {
    use std::fmt::Write;

    let mut prefix = String::with_capacity(name.len() + 1);
    for (index, char) in name.chars().enumerate() {
        let is_reserved = matches!(char, ':' | '%' | ' ' | '\u{0}'..='\u{1f}' | '\u{7f}');
        if is_reserved || (index == 0 && char == '_') {
            let _ = write!(prefix, "%{:02X}", u32::from(char));
        } else {
            prefix.push(char);
        }
    }
    prefix.push(':');
    self::prefix(prefix)
}

/// The beginning of the keys under which the moments of invalidations lie.
pub(crate) const MOMENTS: &str = "_invalidation";

/// Puts a percent sign into keys that begin like those of moments, so that a caller's key is
/// none of them, then applies `next`.
pub(crate) fn beside_moments(next: Option<Mangler>) -> Mangler {
    let beside = Mangler(Arc::new(|key| match key.strip_prefix(MOMENTS) {
        Some(rest) => Cow::Owned(format!("{MOMENTS}%{rest}")),
        None => Cow::Borrowed(key),
    }));
    match next {
        Some(next) => beside.then(next),
        None => beside,
    }
}

/// Puts a version before every key, then applies `next`. A colon or a backslash within the
/// version has a backslash before it, so that it does not run into the key.
pub(crate) fn version(version: &str, next: Option<Mangler>) -> Mangler {
    let escaped = version.replace('\\', "\\\\").replace(':', "\\:");
    let versioned = prefix(format!("v{escaped}:"));
    match next {
        Some(next) => versioned.then(next),
        None => versioned,
    }
}

/// Replaces every key by the SHA-1 of its UTF-8 bytes in lower-case hex, as
/// Python's `sha1_mangle_key` does.
///
/// ```
/// let mangler = dogpile::key::sha1();
/// assert_eq!(mangler.mangle("user:42"), "adf14d23d3caa1297fd8df9a6f360b9d003ef4bc");
/// ```
#[cfg(feature = "sha1")]
pub fn sha1() -> Mangler {
    use sha1::Digest;
    use std::fmt::Write;

    Mangler::new(|key| {
        let digest = sha1::Sha1::digest(key.as_bytes());
        digest.iter().fold(String::with_capacity(40), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    })
}

/// Applies `mangler` to keys of at least `length` characters only, as
/// Python's `length_conditional_mangler` does.
///
/// ```
/// let mangler = dogpile::key::length_conditional(5, dogpile::key::prefix("long:"));
/// assert_eq!(mangler.mangle("four"), "four");
/// assert_eq!(mangler.mangle("fives"), "long:fives");
/// ```
pub fn length_conditional(length: usize, mangler: Mangler) -> Mangler {
    Mangler(Arc::new(move |key| {
        // A key has no more characters than bytes: most need no counting.
        if key.len() >= length && key.chars().count() >= length {
            mangler.mangle(key)
        } else {
            Cow::Borrowed(key)
        }
    }))
}

/// Replaces keys that a memcached server does not take by `sha1:` and their
/// SHA-1: those of more than `longest` bytes, empty ones, and those with spaces
/// or control characters. Other keys stay as they are, but for those that look
/// like a replaced one, so that no two keys become one.
///
/// ```
/// let mangler = dogpile::key::for_memcached(243);
/// assert_eq!(mangler.mangle("user:42"), "user:42");
/// assert_eq!(mangler.mangle("user 42"), "sha1:542c5ef1096e5cde66b288e2c861ff0eb6750a56");
/// ```
#[cfg(feature = "memcached")]
pub fn for_memcached(longest: usize) -> Mangler {
    const MARK: &str = "sha1:";
    let digest = sha1();
    let fits = move |key: &str| {
        let taken = |byte: u8| byte > b' ' && byte != 0x7f;
        (1..=longest).contains(&key.len()) && key.bytes().all(taken) && !key.starts_with(MARK)
    };
    Mangler(Arc::new(move |key| {
        if fits(key) {
            Cow::Borrowed(key)
        } else {
            Cow::Owned(format!("{MARK}{}", digest.mangle(key)))
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(feature = "sha1")]
    fn sha1_is_of_the_utf8_bytes_in_hex() {
        assert_eq!(sha1().mangle("abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(sha1().mangle("ключ").len(), 40);
    }

    #[test]
    fn no_key_is_that_of_moments_and_no_two_become_one() {
        let keys = ["_invalidation:a", "_invalidation%:a", "_invalidation", "_invalid", "a", ""];
        let mangled = keys.map(|key| beside_moments(None).mangle(key).into_owned());
        assert_eq!(mangled[0], "_invalidation%:a");
        assert!(!mangled.iter().any(|key| key.starts_with("_invalidation:")));
        let different: std::collections::HashSet<_> = mangled.iter().collect();
        assert_eq!(different.len(), keys.len());
    }

    #[test]
    fn no_two_names_of_regions_give_one_prefix() {
        let stored = |name: &str, key: &str| of_region(name).mangle(key).into_owned();
        assert_eq!(stored("users", "42"), "users:42");
        assert_eq!(stored("a:b", "c"), "a%3Ab:c");
        assert_ne!(stored("a", "b:c"), stored("a:b", "c"));
        assert_ne!(stored("a%3Ab", "c"), stored("a:b", "c"));
        assert_eq!(stored("_lock x", "k"), "%5Flock%20x:k");
    }

    #[test]
    fn length_counts_characters_not_bytes() {
        let mangler = length_conditional(4, Mangler::new(|_| "x".into()));
        assert_eq!(mangler.mangle("äöü"), "äöü");
        assert_eq!(mangler.mangle("äöüß"), "x");
    }

    #[test]
    fn manglers_chain_in_order() {
        assert_eq!(prefix("a").then(prefix("b")).mangle("k"), "bak");
    }
}
