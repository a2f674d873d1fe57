//! A key that is being written, without the heap as long as it is short.

use std::fmt::{self, Write};

/// A key that is being written, on the stack as long as it is short.
pub(crate) struct KeyBuffer {
    short: Short,
    length: usize,
    /// The whole key, once it has outgrown `short`.
    long: String,
}

/// Text and zeros. Where it is aligned like this, and looked through in whole blocks, the standard
/// library finds out in a third of the time that it is text.
#[repr(align(16))]
struct Short([u8; KeyBuffer::SHORT]);

impl KeyBuffer {
    const SHORT: usize = 64;

    const BLOCK: usize = 16;

    #[inline]
    pub(crate) fn new() -> Self {
        Self { short: Short([0; Self::SHORT]), length: 0, long: String::new() }
    }

    /// Writes a number in decimal digits.
    #[inline]
    pub(crate) fn write_number(&mut self, number: u64) {
        // Writing to memory does not fail.
        let _ = self.write_str(itoa::Buffer::new().format(number));
    }

    /// Writes a character of one byte.
    #[inline]
    pub(crate) fn write_ascii(&mut self, character: u8) {
        debug_assert!(character.is_ascii());
        if self.has_room(1) {
            self.short.0[self.length] = character;
            self.length += 1;
        } else {
            let _ = self.write_str(char::from(character).encode_utf8(&mut [0; 4]));
        }
    }

    #[inline]
    fn has_room(&self, length: usize) -> bool {
        self.long.is_empty() && self.length + length <= Self::SHORT
    }

    #[inline]
    fn append(&mut self, text: &[u8]) {
        let end = self.length + text.len();
        self.short.0[self.length..end].copy_from_slice(text);
        self.length = end;
    }

    /// The key up to now, as nobody has looked whether it is text.
    #[inline]
    pub(crate) fn asked(&self) -> AskedKey<'_> {
        if self.long.is_empty() {
            AskedKey::Written(&self.short.0[..self.length])
        } else {
            AskedKey::Text(&self.long)
        }
    }

    #[inline]
    pub(crate) fn as_str(&self) -> &str {
        if self.long.is_empty() { self.short_str() } else { &self.long }
    }

    #[cold]
    fn write_long(&mut self, text: &str) {
        if self.long.is_empty() {
            self.long = self.short_str().to_owned();
        }
        self.long.push_str(text);
    }

    fn short_str(&self) -> &str {
        let blocks = self.length.next_multiple_of(Self::BLOCK);
        // Only whole strings are written, so this is never the empty key.
        let text = str::from_utf8(&self.short.0[..blocks]).unwrap_or_default();
        text.get(..self.length).unwrap_or_default()
    }
}

impl Write for KeyBuffer {
    #[inline]
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.has_room(text.len()) {
            self.append(text.as_bytes());
            return Ok(());
        }
        self.write_long(text);
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

/// A key that is asked for.
#[derive(Clone, Copy)]
pub(crate) enum AskedKey<'k> {
    Text(&'k str),
    /// Text that was written in a [`KeyBuffer`]. To find out again that it is text would be a tenth of
    /// a hit, and maps need not know.
    Written(&'k [u8]),
}

impl<'k> AskedKey<'k> {
    #[cfg(feature = "memory")]
    #[inline]
    pub(crate) fn as_bytes(self) -> &'k [u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Written(bytes) => bytes,
        }
    }

    #[inline]
    pub(crate) fn as_str(self) -> &'k str {
        match self {
            Self::Text(text) => text,
            // Only whole strings are written, so this is never the empty key.
            Self::Written(bytes) => str::from_utf8(bytes).unwrap_or_default(),
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

    #[test]
    fn numbers_are_written_as_anywhere() {
        for length in [0, 40, 44, 60, 63, 64, 100] {
            for number in [0, 7, 10, 99, 1_000, 99_999_999, 100_000_000, u64::MAX] {
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
            assert_eq!(buffer.asked().as_bytes(), expected.as_bytes());
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
