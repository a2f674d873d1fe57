//! A key that is being written, without the heap as long as it is short.

use std::fmt;

/// A key that is being written, on the stack as long as it is short.
pub(crate) struct KeyBuffer {
    short: [u8; KeyBuffer::SHORT],
    length: usize,
    /// The whole key, once it has outgrown `short`.
    long: String,
}

impl KeyBuffer {
    const SHORT: usize = 64;

    pub(crate) fn new() -> Self {
        Self { short: [0; Self::SHORT], length: 0, long: String::new() }
    }

    pub(crate) fn as_str(&self) -> &str {
        if self.long.is_empty() { self.short_str() } else { &self.long }
    }

    fn short_str(&self) -> &str {
        // Only whole strings are written, so this is never the empty key.
        str::from_utf8(&self.short[..self.length]).unwrap_or_default()
    }
}

impl fmt::Write for KeyBuffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        if self.long.is_empty() && end <= Self::SHORT {
            self.short[self.length..end].copy_from_slice(text.as_bytes());
            self.length = end;
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
    fn a_key_buffer_holds_keys_of_any_length() {
        use std::fmt::Write;

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
