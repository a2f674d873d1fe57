//! An object as the memory backend stores it, with its key beside it.
//!
//! The map under that backend gives values away as clones. A key it shows by reference, to
//! whoever asks for an equal one. So the object lies beside its key: a hit looks at it where it
//! is, and takes no reference count but that of the value.

use std::cell::RefCell;
use std::hash::{Hash, Hasher};

use quick_cache::Equivalent;

use crate::clock::Timestamp;
use crate::value::Object;

/// An object under its key.
pub(crate) struct Stored {
    key: Key,
    pub(super) object: Object,
}

impl Stored {
    pub(crate) fn new(key: &str, object: Object) -> Self {
        Self { key: Key::new(key), object }
    }

    pub(super) fn key(&self) -> &str {
        str::from_utf8(self.key.as_bytes()).unwrap_or_default()
    }
}

impl PartialEq for Stored {
    fn eq(&self, other: &Self) -> bool {
        self.key.as_bytes() == other.key.as_bytes()
    }
}

impl Eq for Stored {}

impl Hash for Stored {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.key.as_bytes());
    }
}

/// The text of a key. A short one lies in the map itself: another pointer to follow would be a
/// third of a hit among many entries.
enum Key {
    /// A third form, so that the compiler has fewer numbers to spare for its forms than for those of the
    /// map's own types. It takes the most numerous for what an entry is; from here, it could not, and each
    /// entry would be eight bytes larger.
    Empty,
    Short {
        length: u8,
        bytes: [u8; Key::SHORT],
    },
    Long(Box<[u8]>),
}

impl Key {
    /// As much as has room where a pointer and its tag would lie otherwise.
    const SHORT: usize = 22;

    fn new(text: &str) -> Self {
        let text = text.as_bytes();
        match u8::try_from(text.len()) {
            Ok(0) => Self::Empty,
            Ok(length) if text.len() <= Self::SHORT => {
                let mut bytes = [0; Self::SHORT];
                bytes[..text.len()].copy_from_slice(text);
                Self::Short { length, bytes }
            }
            _ => Self::Long(text.into()),
        }
    }

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Empty => &[],
            Self::Short { length, bytes } => &bytes[..usize::from(*length)],
            Self::Long(bytes) => bytes,
        }
    }
}

/// The moments of an object's creation. In twelve bytes, so that an object lies beside its key in one
/// line of the processor's cache: the begin is said by its distance from the end.
#[derive(Clone, Copy)]
pub(super) struct Moments {
    /// The bits of the end, in two halves that need no room for alignment. Not a number where the
    /// object says more than these.
    ct: [u32; 2],
    /// Steps of [`STEP`](Self::STEP).
    took: i32,
}

impl Moments {
    /// No two moments between the years 2004 and 2106 differ by less: a float of epoch seconds
    /// has no more digits.
    const STEP: Timestamp = 1.0 / (1 << 22) as Timestamp;

    /// Returns the moments, if they can be said exactly: a creation took no more than eight minutes.
    pub(super) fn exactly(ct: Timestamp, begun: Timestamp) -> Option<Self> {
        #[expect(clippy::cast_possible_truncation, reason = "what does not fit is seen below")]
        let took = ((ct - begun) / Self::STEP) as i32;
        let moments = Self { ct: halves(ct), took };
        // Bit by bit: a moment that is off by one would be on the other side of an invalidation.
        (moments.begun().to_bits() == begun.to_bits()).then_some(moments)
    }

    /// Returns the moments of an object that says them itself.
    pub(super) fn said_by_object() -> Self {
        Self { ct: halves(Timestamp::NAN), took: 0 }
    }

    /// Returns the end.
    #[inline]
    pub(super) fn ct(self) -> Timestamp {
        let [high, low] = self.ct;
        Timestamp::from_bits(u64::from(high) << 32 | u64::from(low))
    }

    /// Returns the begin.
    #[inline]
    pub(super) fn begun(self) -> Timestamp {
        self.ct() - Timestamp::from(self.took) * Self::STEP
    }
}

fn halves(moment: Timestamp) -> [u32; 2] {
    let bits = moment.to_bits();
    #[expect(clippy::cast_possible_truncation, reason = "that half is the other one")]
    let low = bits as u32;
    [(bits >> 32) as u32, low]
}

/// A key that is asked for, as bytes: nobody needs to look whether they are text.
pub(crate) struct Asked<'k>(pub(crate) &'k [u8]);

impl Hash for Asked<'_> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.0);
    }
}

impl Equivalent<Stored> for Asked<'_> {
    #[inline]
    fn equivalent(&self, stored: &Stored) -> bool {
        stored.key.as_bytes() == self.0
    }
}

/// A key that is asked for, with what is to be done with the object under it. That is called
/// under the lock of a part of the map.
pub(crate) struct Looking<'k, F> {
    asked: Asked<'k>,
    look: RefCell<F>,
}

impl<'k, F: FnMut(&Object)> Looking<'k, F> {
    pub(crate) fn new(key: &'k [u8], look: F) -> Self {
        Self { asked: Asked(key), look: RefCell::new(look) }
    }
}

impl<F> Hash for Looking<'_, F> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.asked.hash(state);
    }
}

impl<F: FnMut(&Object)> Equivalent<Stored> for Looking<'_, F> {
    #[inline]
    fn equivalent(&self, stored: &Stored) -> bool {
        let is_it = self.asked.equivalent(stored);
        if is_it {
            (self.look.borrow_mut())(&stored.object);
        }
        is_it
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn moments_are_exact_or_not_said(
            ct in prop_oneof![0.0..1e3_f64, 1.1e9..4e9_f64],
            took in prop_oneof![Just(0.0), -600.0..600.0_f64, 0.0..1e-3_f64],
        ) {
            let begun = ct - took;
            match Moments::exactly(ct, begun) {
                Some(moments) => prop_assert_eq!((moments.ct(), moments.begun()), (ct, begun)),
                None => prop_assert!(ct < 1.1e9 || took.abs() >= 500.0),
            }
        }
    }

    #[test]
    fn an_object_is_as_large_as_a_line_of_the_cache() {
        /// As the map's own types are.
        #[expect(dead_code, reason = "only their size counts")]
        enum State {
            Hot,
            Cold,
        }
        #[expect(dead_code, reason = "as above")]
        enum Entry {
            Resident(Stored, Moments, State, u16),
            Placeholder(Stored, State, std::sync::Arc<()>),
            Ghost(u64),
        }
        // Eight more bytes link them.
        assert_eq!(size_of::<Option<Entry>>(), 56);
        assert!(Moments::said_by_object().ct().is_nan());
    }

    #[test]
    fn keys_of_all_lengths_are_found() {
        for length in [0, 1, Key::SHORT, Key::SHORT + 1, 300] {
            let key = "k".repeat(length);
            let stored = Stored::new(&key, Object::new(1));
            assert_eq!(stored.key(), key);
            assert!(Asked(key.as_bytes()).equivalent(&stored));
            assert!(!Asked(b"other").equivalent(&stored));
        }
    }
}
