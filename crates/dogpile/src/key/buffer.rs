//! A key that is being written, without the heap as long as it is short.

use std::fmt::{self, Write};

use super::digits::{EIGHT, eight_digits, leading_digits};
#[cfg(feature = "memory")]
use super::hash::{TextHash, hash_of};

/// A key that is being written, on the stack as long as it is short.
pub(crate) struct KeyBuffer {
    short: Short,
    /// The whole key, once it has outgrown `short`.
    long: String,
}

/// A short key, or the beginning of keys.
#[derive(Clone, Copy)]
pub(crate) struct Short {
    text: Text,
    /// More than any short one has where it is a long one.
    length: usize,
    #[cfg(feature = "memory")]
    hash: TextHash,
}

/// Text and zeros. Where it is aligned like this, and looked through in whole blocks, the standard
/// library finds out in a third of the time that it is text. There is always room for one more piece.
#[derive(Clone, Copy)]
#[repr(align(16))]
struct Text([u8; KeyBuffer::SHORT + KeyBuffer::BLOCK]);

impl Short {
    const EMPTY: Self = Self {
        text: Text([0; KeyBuffer::SHORT + KeyBuffer::BLOCK]),
        length: 0,
        #[cfg(feature = "memory")]
        hash: TextHash::NEW,
    };
}

impl KeyBuffer {
    const SHORT: usize = 64;

    const BLOCK: usize = 16;

    /// The longest piece: a word.
    const PIECE: usize = size_of::<u64>();

    #[inline]
    pub(crate) fn new() -> Self {
        Self { short: Short::EMPTY, long: String::new() }
    }

    /// Begins an empty key with what was written in another, if that is short.
    #[cfg(feature = "macros")]
    #[inline]
    pub(crate) fn begin_with(&mut self, beginning: &Short) {
        self.short = *beginning;
    }

    /// Returns what was written, if it is short.
    #[cfg(feature = "macros")]
    pub(crate) fn into_short(self) -> Option<Short> {
        (self.short.length <= Self::SHORT).then_some(self.short)
    }

    /// Writes at most two words.
    #[inline]
    pub(crate) fn write_words(&mut self, [first, second]: [u64; 2], length: usize) {
        self.write_piece(first, length.min(Self::PIECE));
        if length > Self::PIECE {
            self.write_piece(second, length - Self::PIECE);
        }
    }

    /// Writes a number in decimal digits.
    #[expect(clippy::inline_always, reason = "measured: a tenth of a hit")]
    #[inline(always)]
    pub(crate) fn write_number(&mut self, number: u64) {
        if number >= EIGHT {
            return self.write_large(number);
        }
        let (digits, length) = leading_digits(number);
        self.write_piece(digits, length);
    }

    #[inline(never)]
    fn write_large(&mut self, number: u64) {
        let (upper, middle) = (number / EIGHT / EIGHT, number / EIGHT % EIGHT);
        if upper == 0 {
            self.write_number(middle);
        } else {
            self.write_number(upper);
            self.write_piece(eight_digits(middle), Self::PIECE);
        }
        self.write_piece(eight_digits(number % EIGHT), Self::PIECE);
    }

    /// Writes a character of one byte.
    #[inline]
    pub(crate) fn write_ascii(&mut self, character: u8) {
        debug_assert!(character.is_ascii());
        self.write_piece(character.into(), 1);
    }

    /// Writes as many bytes of a word, from the lowest on. The others are zero.
    #[inline]
    fn write_piece(&mut self, piece: u64, length: usize) {
        if self.has_room(length) {
            self.append(piece, length);
        } else {
            self.write_long(&piece.to_le_bytes()[..length]);
        }
    }

    #[inline]
    fn has_room(&self, length: usize) -> bool {
        self.short.length + length <= Self::SHORT
    }

    /// Appends a piece where there is room. It is hashed before it is in memory.
    #[expect(clippy::inline_always, reason = "measured: a tenth of a hit")]
    #[inline(always)]
    fn append(&mut self, piece: u64, length: usize) {
        let free = self.short.text.0.get_mut(self.short.length..).and_then(<[u8]>::first_chunk_mut);
        if let Some(next) = free {
            *next = piece.to_le_bytes();
        }
        #[cfg(feature = "memory")]
        self.short.hash.add(self.short.length, piece);
        self.short.length += length;
    }

    /// The key up to now, as nobody has looked whether it is text.
    #[inline]
    pub(crate) fn asked(&self) -> AskedKey<'_> {
        match self
            .short
            .text
            .0
            .get(..self.short.length)
            .filter(|_| self.short.length <= Self::SHORT)
        {
            Some(bytes) => AskedKey::Written {
                bytes,
                #[cfg(feature = "memory")]
                hash: self.short.hash.finish(self.short.length),
            },
            None => AskedKey::Text(&self.long),
        }
    }

    #[inline]
    pub(crate) fn as_str(&self) -> &str {
        if self.short.length <= Self::SHORT { self.short_str() } else { &self.long }
    }

    /// Writes pieces of text which are text together.
    #[cold]
    fn write_long(&mut self, text: &[u8]) {
        if self.short.length <= Self::SHORT {
            self.long = self.short_str().to_owned();
            self.short.length = Self::SHORT + 1;
        }
        self.long.push_str(str::from_utf8(text).unwrap_or_default());
    }

    fn short_str(&self) -> &str {
        let blocks = self.short.length.next_multiple_of(Self::BLOCK);
        // Only whole strings are written, so this is never the empty key.
        let text = str::from_utf8(&self.short.text.0[..blocks]).unwrap_or_default();
        text.get(..self.short.length).unwrap_or_default()
    }
}

impl Write for KeyBuffer {
    #[inline]
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if !self.has_room(text.len()) {
            self.write_long(text.as_bytes());
            return Ok(());
        }
        let (pieces, rest) = text.as_bytes().as_chunks();
        for piece in pieces {
            self.append(u64::from_le_bytes(*piece), Self::PIECE);
        }
        if !rest.is_empty() {
            // Byte by byte: digits that were written a moment ago, as `Display` does, are there at once.
            let piece = rest.iter().rev().fold(0, |piece, byte| piece << 8 | u64::from(*byte));
            self.append(piece, rest.len());
        }
        Ok(())
    }

    #[inline]
    fn write_char(&mut self, character: char) -> fmt::Result {
        match u8::try_from(character) {
            Ok(ascii) if ascii.is_ascii() => {
                self.write_ascii(ascii);
                Ok(())
            }
            _ => self.write_str(character.encode_utf8(&mut [0; 4])),
        }
    }
}

/// A key that is asked for. It is aligned so that none of it crosses a line of the processor's cache: reading
/// what has just been written across one takes as long as half a hit.
#[derive(Clone, Copy)]
#[repr(align(32))]
pub(crate) enum AskedKey<'k> {
    Text(&'k str),
    /// Text that was written in a [`KeyBuffer`]. To find out again that it is text would be a tenth of
    /// a hit, and maps need not know.
    Written {
        bytes: &'k [u8],
        #[cfg(feature = "memory")]
        hash: u64,
    },
}

impl<'k> AskedKey<'k> {
    /// Returns its bytes, and their hash.
    #[cfg(feature = "memory")]
    #[inline]
    pub(crate) fn hashed(self) -> (&'k [u8], u64) {
        match self {
            Self::Text(text) => (text.as_bytes(), hash_of(text.as_bytes())),
            Self::Written { bytes, hash } => (bytes, hash),
        }
    }

    #[inline]
    pub(crate) fn as_str(self) -> &'k str {
        match self {
            Self::Text(text) => text,
            // Only whole strings are written, so this is never the empty key.
            Self::Written { bytes, .. } => str::from_utf8(bytes).unwrap_or_default(),
        }
    }
}

impl<'k> From<&'k str> for AskedKey<'k> {
    #[inline]
    fn from(text: &'k str) -> Self {
        Self::Text(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const E8: u64 = 100_000_000;
    const NUMBERS: [u64; 12] =
        [0, 7, 10, 99, 1_000, E8 - 1, E8, E8 + 1, E8 * E8 - 1, E8 * E8, E8 * E8 + 1, u64::MAX];

    #[test]
    fn numbers_are_written_as_anywhere() {
        for length in [0, 40, 44, 60, 63, 64, 100] {
            for number in NUMBERS {
                let mut buffer = KeyBuffer::new();
                let text = "ключ".chars().cycle().take(length).collect::<String>();
                buffer.write_str(&text).unwrap();
                buffer.write_number(number);
                assert_eq!(buffer.as_str(), format!("{text}{number}"));
            }
        }
    }

    #[test]
    fn what_is_asked_for_is_what_was_written() {
        for length in [0, 20, 63, 64, 65] {
            let mut buffer = KeyBuffer::new();
            buffer.write_str(&"k".repeat(length)).unwrap();
            buffer.write_ascii(b'|');
            buffer.write_number(305);
            let expected = format!("{}|305", "k".repeat(length));
            #[cfg(feature = "memory")]
            assert_eq!(
                buffer.asked().hashed(),
                (expected.as_bytes(), hash_of(expected.as_bytes()))
            );
            assert_eq!((buffer.asked().as_str(), buffer.as_str()), (&*expected, &*expected));
        }
    }

    #[test]
    fn a_key_buffer_holds_keys_of_any_length() {
        for length in [0, 1, 40, 63, 64, 65, 200] {
            let mut buffer = KeyBuffer::new();
            let text: String = "ключ-key".chars().cycle().take(length).collect();
            for piece in [&text, "", ":", &text] {
                buffer.write_str(piece).unwrap();
            }
            assert_eq!(buffer.as_str(), format!("{text}:{text}"));
        }
    }
}
