//! A key that is being written, and what can be written into it.

use std::fmt::{self, Write};

use super::KeyBuffer;
#[cfg(feature = "macros")]
use super::{AskedKey, Short};

/// A value that can stand in the key of a decorated function.
///
/// It is implemented for numbers, text, `bool`, `char`, paths, times, and for options,
/// sequences, sets, maps, tuples and pointers of such. The derive macro of the same name
/// implements it for structs and enums. The attribute [`cached`](crate::cached) takes types
/// with `Display` too, also within options, sequences and so on.
///
/// Two values that are not equal must not look the same: what `write_str` and
/// `write_fmt` are given is escaped, so that it never runs into the next part.
///
/// ```
/// use dogpile::key::{KeyPart, KeyText};
///
/// struct Point { x: i32, y: i32 }
///
/// impl KeyPart for Point {
///     fn write_key(&self, key: &mut KeyText) {
///         key.sequence(&[&self.x, &self.y]);
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be part of a cache key",
    label = "cannot be part of a key",
    note = "for a type of your own: derive `dogpile::key::KeyPart`, or implement `Display`",
    note = "for a type of another crate: name what stands for it with `key = (..)`, as in `key = (user.id, date.to_string())`, convert it with `to_str = ..`, or wrap it in a type of your own",
    note = "for what the value does not depend on, such as a connection: leave it out with `skip(..)`"
)]
pub trait KeyPart {
    /// Writes the value.
    fn write_key(&self, key: &mut KeyText);

    /// Returns whether a value may look like an option that is `None`, so that an option
    /// around it needs a sign of its own.
    #[doc(hidden)]
    fn is_option(&self) -> bool {
        false
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Escaped,
    Python,
}

/// A key that is being written. What is written with
/// [`write!`](std::fmt::Write) is escaped where the format says so.
pub struct KeyText {
    buffer: KeyBuffer,
    style: Style,
}

impl KeyText {
    /// The key up to now.
    pub(crate) fn as_str(&self) -> &str {
        self.buffer.as_str()
    }

    /// The key up to now, for a look at what lies under it.
    #[cfg(feature = "macros")]
    #[inline]
    pub(crate) fn asked(&self) -> AskedKey<'_> {
        self.buffer.asked()
    }

    /// Begins an empty key with what was written in another.
    #[cfg(feature = "macros")]
    #[inline]
    pub(crate) fn begin_with(&mut self, beginning: &Short) {
        self.buffer.begin_with(beginning);
    }

    /// An empty key in the usual style.
    #[inline]
    pub(crate) fn escaped() -> Self {
        Self::empty(Style::Escaped)
    }

    /// Writes text as it is.
    #[inline]
    pub(crate) fn raw(&mut self, text: &str) {
        // Writing to memory does not fail.
        let _ = self.buffer.write_str(text);
    }

    fn is_python(&self) -> bool {
        self.style == Style::Python
    }

    #[inline]
    pub(super) fn empty(style: Style) -> Self {
        Self { buffer: KeyBuffer::new(), style }
    }

    /// Writes several values as one.
    pub fn sequence(&mut self, items: &[&dyn KeyPart]) {
        self.list(|list| {
            for item in items {
                list.item(|key| item.write_key(key));
            }
        });
    }

    /// Writes several values as one, in the order in which `write` names them.
    pub(crate) fn list(&mut self, write: impl FnOnce(&mut KeyList<'_>)) {
        let open = if self.is_python() { "[" } else { "\\[" };
        self.raw(open);
        write(&mut KeyList { key: self, is_first: true });
        let close = if self.is_python() { "]" } else { "\\]" };
        self.raw(close);
    }

    /// Writes several values as one whose order says nothing, such as those of a hash set.
    pub(crate) fn unordered<T>(
        &mut self,
        items: impl Iterator<Item = T>,
        write: impl Fn(T, &mut Self),
    ) {
        let style = self.style;
        let text = |item| {
            let mut key = Self::empty(style);
            write(item, &mut key);
            key.as_str().to_owned()
        };
        let mut texts: Vec<String> = items.map(text).collect();
        texts.sort_unstable();
        self.list(|list| texts.iter().for_each(|text| list.item(|key| key.raw(text))));
    }

    pub(super) fn namespace(&mut self, namespace: &str) {
        self.escaping(namespace, &['\\', '|']);
    }

    /// Writes the sign for an option that is `None`.
    pub(crate) fn none(&mut self) {
        self.raw(if self.is_python() { "None" } else { "\\N" });
    }

    /// Writes the sign for an option in an option that is not `None`.
    pub(crate) fn some(&mut self) {
        if !self.is_python() {
            self.raw("\\S");
        }
    }

    /// Writes bytes that are not text.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let _ = write!(self.buffer, "\\x{byte:02x}");
        }
    }

    /// Writes `text`, with the characters in `escaped` in another way.
    fn escaping(&mut self, text: &str, escaped: &[char]) {
        if self.is_python() || !text.contains(escaped) {
            return self.raw(text);
        }
        for piece in text.split_inclusive(escaped) {
            let last = piece.chars().next_back().filter(|last| escaped.contains(last));
            let plain = piece.len() - last.map_or(0, char::len_utf8);
            self.raw(&piece[..plain]);
            match last {
                Some(' ') => self.raw("\\s"),
                Some('|') => self.raw("\\p"),
                Some('\\') => self.raw("\\\\"),
                _ => {}
            }
        }
    }

    pub(super) fn boolean(&mut self, yes: bool) {
        self.raw(match (self.is_python(), yes) {
            (true, true) => "True",
            (true, false) => "False",
            (false, true) => "true",
            (false, false) => "false",
        });
    }

    /// Writes a character as it is.
    #[inline]
    pub(crate) fn raw_ascii(&mut self, character: u8) {
        self.buffer.write_ascii(character);
    }

    /// Writes a number, which needs no escaping.
    #[inline]
    pub(super) fn number(&mut self, number: u64) {
        self.buffer.write_number(number);
    }

    /// Writes a number that may be negative, or larger.
    pub(super) fn integer(&mut self, number: &dyn fmt::Display) {
        let _ = write!(self.buffer, "{number}");
    }

    pub(super) fn float(&mut self, number: f64, text: &dyn fmt::Display) {
        let _ = if self.is_python() {
            write!(self.buffer, "{number:?}")
        } else {
            write!(self.buffer, "{text}")
        };
    }
}

impl Write for KeyText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.escaping(text, &[' ', '\\', '|']);
        Ok(())
    }
}

/// Several values that are being written as one.
pub(crate) struct KeyList<'k> {
    key: &'k mut KeyText,
    is_first: bool,
}

impl KeyList<'_> {
    /// Writes the next value.
    pub(crate) fn item(&mut self, write: impl FnOnce(&mut KeyText)) {
        if !self.is_first && self.key.is_python() {
            self.key.raw(", ");
        }
        self.is_first = false;
        write(self.key);
        // A mark after each, not between them: or a sequence of one empty text
        // would look like one of nothing.
        if !self.key.is_python() {
            self.key.raw("\\,");
        }
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyText").field(&self.as_str()).finish()
    }
}
