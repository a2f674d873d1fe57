//! The hash of a key's text, which a writer of the text can tell piece by piece.
//!
//! A processor waits when it reads in large pieces what it has just written in small ones. A hash of
//! the written bytes would do that, and the look into the map cannot begin before it is known: that was
//! a third of a hit of a decorated function. So pieces are hashed before they are in memory.
//!
//! Each word of a text is multiplied by a secret number that belongs to its place, and the hash is made of
//! the sum. So parts of a word can be added apart, in any order, and nobody can make up keys that collide.

use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::sync::OnceLock;

const WORD: usize = size_of::<u64>();

/// The words of a text that are summed up at once.
const WORDS: usize = 16;

/// The numbers of this process that nobody knows.
struct Seeds {
    /// One for each place of a word, and for the rest of one.
    words: [u64; WORDS + 1],
    length: u64,
    halves: [u64; 2],
}

#[inline]
fn seeds() -> &'static Seeds {
    static SEEDS: OnceLock<Seeds> = OnceLock::new();
    SEEDS.get_or_init(|| {
        let random = RandomState::new();
        let seed = |which: usize| random.hash_one(which);
        let halves = [seed(WORDS + 2), seed(WORDS + 3)];
        Seeds { words: std::array::from_fn(seed), length: seed(WORDS + 1), halves }
    })
}

/// The sum of the words of a text, so far.
#[derive(Clone, Copy)]
pub(super) struct TextHash(u128);

impl TextHash {
    #[cfg(feature = "memory")]
    pub(super) const NEW: Self = Self(0);

    /// The longest text that may be hashed in pieces.
    pub(super) const LONGEST: usize = WORDS * WORD;

    /// Adds the next bytes of a text, of which there are `before` already: those of `piece`, from the lowest
    /// on. The others of it are zero.
    #[cfg(feature = "memory")]
    #[inline]
    pub(super) fn add(&mut self, before: usize, piece: u64) {
        let (place, shift) = (before / WORD, 8 * (before % WORD));
        let (word, rest) = (piece << shift, piece >> 1 >> (63 - shift));
        if let Some([seed, next]) = seeds().words.get(place..).and_then(<[u64]>::first_chunk) {
            let sum = product(word, *seed).wrapping_add(product(rest, *next));
            self.0 = self.0.wrapping_add(sum);
        }
    }

    /// Returns the hash of a text of `length` bytes.
    #[cfg(feature = "memory")]
    #[inline]
    pub(super) fn finish(self, length: usize) -> u64 {
        self.finish_with(length, seeds())
    }

    #[inline]
    fn finish_with(self, length: usize, seeds: &Seeds) -> u64 {
        let sum = self.0.wrapping_add(product(length as u64, seeds.length));
        let product = product(low(sum) ^ seeds.halves[0], low(sum >> 64) ^ seeds.halves[1]);
        low(product) ^ low(product >> 64)
    }
}

/// Makes hashers for maps whose keys are keys of a region, as texts or with their hash.
pub(crate) type KeyHashes = BuildHasherDefault<KeyHash>;

/// The hash of one key.
#[derive(Default)]
pub(crate) struct KeyHash(u64);

impl Hasher for KeyHash {
    #[inline]
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        self.0 = hash_of(bytes);
    }

    /// The end of a text, which its length tells too.
    #[inline]
    fn write_u8(&mut self, _end: u8) {}

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

#[inline]
fn product(one: u64, other: u64) -> u128 {
    u128::from(one) * u128::from(other)
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
#[inline]
const fn low(number: u128) -> u64 {
    number as u64
}

/// Returns the hash of a whole text.
#[expect(clippy::inline_always, reason = "measured: a twentieth of a hit")]
#[inline(always)]
pub(crate) fn hash_of(text: &[u8]) -> u64 {
    if text.len() > TextHash::LONGEST {
        return hash_of_long(text);
    }
    let seeds = seeds();
    sum_of(text, seeds).finish_with(text.len(), seeds)
}

#[expect(clippy::inline_always, reason = "as above")]
#[inline(always)]
fn sum_of(text: &[u8], seeds: &Seeds) -> TextHash {
    let (words, rest) = text.as_chunks();
    let mut sum = product(last_word(text, rest), seeds.words[words.len() % (WORDS + 1)]);
    for (word, seed) in words.iter().zip(&seeds.words) {
        sum = sum.wrapping_add(product(u64::from_le_bytes(*word), *seed));
    }
    TextHash(sum)
}

/// Returns what is left of a text after its whole words. It is read in pieces which overlap.
#[inline]
fn last_word(text: &[u8], rest: &[u8]) -> u64 {
    let length = rest.len();
    if let Some(last) = text.last_chunk() {
        // Without a rest, all of it is shifted out.
        return u64::from_le_bytes(*last) >> 1 >> (63 - 8 * length);
    }
    if let (Some(first), Some(last)) = (rest.first_chunk(), rest.last_chunk()) {
        let [first, last] = [first, last].map(|piece| u64::from(u32::from_le_bytes(*piece)));
        return first | last << (8 * (length - 4));
    }
    rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

#[cold]
fn hash_of_long(text: &[u8]) -> u64 {
    let (pieces, seeds) = (text.chunks(TextHash::LONGEST), seeds());
    pieces.fold(0, |before, piece| {
        let TextHash(sum) = sum_of(piece, seeds);
        TextHash(sum.wrapping_add(product(before, seeds.words[WORDS])))
            .finish_with(text.len(), seeds)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_have_the_hash_of_the_whole(
            pieces in proptest::collection::vec(proptest::collection::vec(0_u8.., 0..9), 0..16),
        ) {
            let (mut hash, mut length) = (TextHash::NEW, 0);
            for piece in &pieces {
                let mut bytes = [0; WORD];
                bytes[..piece.len()].copy_from_slice(piece);
                hash.add(length, u64::from_le_bytes(bytes));
                length += piece.len();
            }
            prop_assert_eq!(hash.finish(length), hash_of(&pieces.concat()));
        }
    }

    #[test]
    fn texts_that_differ_by_a_little_differ_everywhere_in_their_hashes() {
        let zeros = (0..300).map(|length| vec![0; length]);
        let numbers = (0..50_000).map(|number| format!("user:{number}").into_bytes());
        let long = (0..50_000).map(|number| format!("a module:a function|{number} 7").into_bytes());
        let hashes: Vec<u64> =
            zeros.chain(numbers).chain(long).map(|text| hash_of(&text)).collect();
        // Of so many hashes no value of twelve bits is left out, and none is frequent.
        for place in (0..=52).step_by(4) {
            let mut counts = vec![0; 1 << 12];
            let value = |hash: u64| usize::try_from((hash >> place) % (1 << 12)).unwrap();
            hashes.iter().for_each(|hash| counts[value(*hash)] += 1);
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            assert!(*least > 2 && *most < 70, "{place} {least} {most}");
        }
        assert_eq!(hashes.iter().collect::<HashSet<_>>().len(), hashes.len());
    }

    #[test]
    fn every_byte_of_a_long_text_counts() {
        let mut text = vec![b'k'; 2 * TextHash::LONGEST + 3];
        let whole = hash_of(&text);
        for at in 0..text.len() {
            text[at] = b'l';
            assert_ne!(hash_of(&text), whole);
            text[at] = b'k';
        }
        assert_eq!(hash_of(&text), whole);
    }
}
