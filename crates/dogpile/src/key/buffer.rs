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
    pub(crate) fn write_number(&mut self, mut number: u64) {
        let (mut digits, mut first) = ([0; 20], 20);
        loop {
            first -= 1;
            digits[first] = b"0123456789"[(number % 10) as usize];
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.write_ascii(&digits[first..]);
    }

    /// Writes bytes that are characters each.
    #[inline]
    fn write_ascii(&mut self, text: &[u8]) {
        if self.has_room(text.len()) {
            self.append(text);
        } else {
            // Writing to memory does not fail.
            let _ = self.write_str(str::from_utf8(text).unwrap_or_default());
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

    #[inline]
    pub(crate) fn as_str(&self) -> &str {
        if self.long.is_empty() { self.short_str() } else { &self.long }
    }

    fn short_str(&self) -> &str {
        let blocks = self.length.next_multiple_of(Self::BLOCK);
        // Only whole strings are written, so this is never the empty key.
        let text = str::from_utf8(&self.short.0[..blocks]).unwrap_or_default();
        text.get(..self.length).unwrap_or_default()
    }
}

impl Write for KeyBuffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.has_room(text.len()) {
            self.append(text.as_bytes());
            return Ok(());
        }
        if self.long.is_empty() {
            self.long = self.short_str().to_owned();
        }
        self.long.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_anywhere() {
        for length in [0, 40, 44, 60, 63, 64, 100] {
            for number in [0, 7, 10, 99, 1_000, u64::from(u32::MAX), u64::MAX] {
                let mut buffer = KeyBuffer::new();
                let text = "ключ".chars().cycle().take(length).collect::<String>();
                buffer.write_str(&text).unwrap();
                buffer.write_number(number);
                assert_eq!(buffer.as_str(), format!("{text}{number}"));
            }
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
