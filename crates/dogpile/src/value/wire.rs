//! The bytes on the wire: a JSON header, one `|`, the payload.
//!
//! `{"ct": 1763700000.25, "v": 2}|{"id": 7}` is what Python's dogpile.cache
//! writes; a reader takes any spacing, any key order and further keys. What
//! comes from a shared server is untrusted: the header's length and depth are
//! bounded, the payload is a slice of the frame, and nothing here panics or
//! allocates more than the header needs.

use std::sync::Arc;

use bytes::Bytes;
use serde_core::ser::SerializeMap;
use serde_core::{Serialize, Serializer};
use serde_json::{Number, Value};

use super::{Entry, Extra, Malformed, Metadata, Payload};

/// A header longer than this many bytes is not searched for its end: the
/// frame is unreadable. A genuine one has about 40.
pub const MAX_HEADER: usize = 64 * 1024;

/// A header that was read. It has no derived implementation: every application would compile
/// serde's macros for the two of this file.
struct HeaderIn {
    ct: f64,
    b: Option<Value>,
    s: Option<Value>,
    keep: Option<Value>,
    x: Option<Value>,
    e: Option<Value>,
    f: Option<Value>,
    v: Number,
    extra: Extra,
}

impl HeaderIn {
    fn parse(header: &[u8]) -> Option<Self> {
        // The code that parses text to a `Value` lies compiled in `serde_json`.
        let Value::Object(mut extra) = str::from_utf8(header).ok()?.parse().ok()? else {
            return None;
        };
        let ct = extra.remove("ct")?.as_f64()?;
        let Value::Number(v) = extra.remove("v")? else { return None };
        let mut take = |name| extra.remove(name);
        Some(Self {
            ct,
            b: take("b"),
            s: take("s"),
            keep: take("keep"),
            x: take("x"),
            e: take("e"),
            f: take("f"),
            v,
            extra,
        })
    }
}

/// A header to write.
struct HeaderOut<'a> {
    metadata: &'a Metadata,
}

impl Serialize for HeaderOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut header = serializer.serialize_map(None)?;
        header.serialize_entry("ct", &self.metadata.ct)?;
        header.serialize_entry("v", &self.metadata.v)?;
        if let Some(begun) = begin_to_write(self.metadata) {
            header.serialize_entry("b", &begun)?;
        }
        if let Some(shape) = self.metadata.shape {
            header.serialize_entry("s", &shape)?;
        }
        if let Some(seconds) = self.metadata.lifetime_seconds() {
            header.serialize_entry("e", &seconds)?;
        }
        if let Some(failed) = self.metadata.failed_at() {
            header.serialize_entry("f", &failed)?;
        }
        if self.metadata.kept {
            header.serialize_entry("keep", &true)?;
        }
        if self.metadata.expired {
            header.serialize_entry("x", &true)?;
        }
        for (name, value) in self.metadata.extra.iter().flat_map(|extra| extra.iter()) {
            header.serialize_entry(name, value)?;
        }
        header.end()
    }
}

impl Entry {
    /// The entry in a stored frame. Never fails: what cannot be parsed is an
    /// entry with an unreadable payload, which a region treats as missing.
    pub fn from_frame(frame: &Bytes) -> Self {
        let payload = |begin| frame.slice(begin..);
        parse(frame, payload).unwrap_or_else(|why| Self::unreadable(why.of(frame.clone())))
    }

    /// The entry in a stored frame that is not the caller's to keep: its payload is copied.
    #[cfg(feature = "file")]
    pub(crate) fn copied_from(frame: &[u8]) -> Self {
        let payload = |begin| Bytes::copy_from_slice(&frame[begin..]);
        let whole = || Bytes::copy_from_slice(frame);
        parse(frame, payload).unwrap_or_else(|why| Self::unreadable(why.of(whole())))
    }

    /// Returns the bytes to store: of a frame that could not be parsed, the same bytes again.
    /// `None` for an entry that holds an object or an unreadable payload, which have no form
    /// as bytes.
    pub fn to_frame(&self) -> Option<Bytes> {
        let payload = match &self.payload {
            Payload::Bytes(payload) => payload,
            Payload::Unreadable(why) => return why.frame.clone(),
            Payload::Object(_) => return None,
        };
        let mut frame = Vec::with_capacity(48 + payload.len());
        let header = HeaderOut { metadata: &self.metadata };
        serde_json::to_writer(&mut frame, &header).ok()?;
        escape_bars(&mut frame);
        frame.push(b'|');
        frame.extend_from_slice(payload);
        Some(frame.into())
    }
}

/// A bar within the header would end it. It can only stand in a string there,
/// which has another way to write it.
fn escape_bars(header: &mut Vec<u8>) {
    while let Some(bar) = header.iter().position(|&byte| byte == b'|') {
        header.splice(bar..=bar, *b"\\u007c");
    }
}

/// Reads a frame; `payload` returns the rest of it from an index on.
fn parse(frame: &[u8], payload: impl FnOnce(usize) -> Bytes) -> Result<Entry, Malformed> {
    let searched = &frame[..frame.len().min(MAX_HEADER)];
    if let Some((metadata, rest)) = usual(searched) {
        let begin = searched.len() - rest.len();
        return Ok(Entry { metadata, payload: Payload::Bytes(payload(begin)) });
    }
    let bar = searched.iter().position(|&byte| byte == b'|').ok_or_else(|| {
        Malformed::new(if frame.len() > MAX_HEADER {
            "the header is longer than 64 KiB"
        } else {
            "there is no | after the header"
        })
    })?;
    let header = HeaderIn::parse(&searched[..bar])
        .ok_or_else(|| Malformed::new("the header is not a JSON object with ct and v"))?;
    if !header.ct.is_finite() {
        return Err(Malformed::new("the creation time is not a number"));
    }
    // A begin that is not a moment says nothing.
    let begun = header.b.as_ref().and_then(Value::as_f64);
    let metadata = Metadata {
        ct: header.ct,
        begun: begun.filter(|begun| begun.is_finite()).unwrap_or(header.ct),
        shape: header.s.as_ref().and_then(shape),
        v: version(&header.v),
        kept: header.keep == Some(true.into()),
        expired: header.x == Some(true.into()),
        extra: (!header.extra.is_empty()).then(|| Arc::new(header.extra)),
        ..Metadata::created_at(header.ct)
    };
    let metadata = metadata.with_lifetime_seconds(header.e.as_ref().and_then(seconds));
    let metadata = metadata.with_failure(header.f.as_ref().and_then(Value::as_f64));
    Ok(Entry { metadata, payload: Payload::Bytes(payload(bar + 1)) })
}

/// The begin of a creation, where it differs from its end.
fn begin_to_write(metadata: &Metadata) -> Option<f64> {
    let differs = metadata.begun.to_bits() != metadata.ct.to_bits();
    Some(metadata.begun).filter(|begun| differs && begun.is_finite())
}

/// A header as this crate and dogpile.cache write it, which nearly all are, and what follows on its
/// bar: reading them as any JSON would take most of the time that a hit costs beyond its request.
/// Others are `None`.
fn usual(frame: &[u8]) -> Option<(Metadata, &[u8])> {
    let rest = frame.strip_prefix(b"{\"ct\":")?;
    let (ct, rest) = usual_number(rest.strip_prefix(b" ").unwrap_or(rest))?;
    let rest = rest.strip_prefix(b", \"v\": 2").or_else(|| rest.strip_prefix(b",\"v\":2"))?;
    let (begun, rest) = match rest.strip_prefix(b",\"b\":") {
        Some(begun) => usual_number(begun)?,
        None => (ct, rest),
    };
    let (shape, rest) = match rest.strip_prefix(b",\"s\":") {
        Some(shape) => usual_shape(shape)?,
        None => (None, rest),
    };
    let rest = rest.strip_prefix(b"}|")?;
    Some((Metadata { shape, ..Metadata::created_at(ct).with_begin(begun) }, rest))
}

/// The number of a shape at the beginning.
fn usual_shape(text: &[u8]) -> Option<(Option<u32>, &[u8])> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit())?;
    let (digits, rest) = text.split_at(end);
    let is_plain = matches!(digits, [b'1'..=b'9', ..] | [b'0']);
    let shape = str::from_utf8(digits).ok()?.parse().ok()?;
    is_plain.then_some((Some(shape), rest))
}

/// The number at the beginning, if JSON and Rust both take it for one.
fn usual_number(text: &[u8]) -> Option<(f64, &[u8])> {
    let (seconds, whole) = leading_digits(text);
    let (parts, decimals, end) = match text.get(whole..) {
        Some([b'.', after @ ..]) => {
            let (parts, decimals) = leading_digits(after);
            (parts, decimals, whole + 1 + decimals)
        }
        _ => (0, 0, whole),
    };
    let (number, rest) = text.split_at(end);
    let [b'1'..=b'9', .., b'0'..=b'9'] = number else { return None };
    if let Some(moment) = moment(seconds, whole, parts, decimals) {
        return Some((moment, rest));
    }
    let number: f64 = str::from_utf8(number).ok()?.parse().ok()?;
    number.is_finite().then_some((number, rest))
}

/// Returns the number of the digits at the beginning, and how many there are. More than 19 overflow.
fn leading_digits(text: &[u8]) -> (u64, usize) {
    let (mut number, mut length) = (0_u64, 0);
    while let Some(byte @ b'0'..=b'9') = text.get(length) {
        number = number.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
        length += 1;
    }
    (number, length)
}

/// Returns the number of so many `seconds`, of `whole` digits, and of `parts` of one, of `decimals` digits.
/// It is the same as Rust reads, sooner; `None` where it might not be.
///
/// The seconds are exact. So are the decimals, but for 2^-54, since they are less than one. That does
/// not change where the sum is rounded to: no number of seven decimals is as near as that to the
/// middle between two floats from 2^23 on, unless it is the middle.
fn moment(seconds: u64, whole: usize, parts: u64, decimals: usize) -> Option<f64> {
    const POWERS: [f64; 8] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7];
    let power = *POWERS.get(decimals)?;
    let is_exact = whole < 20 && seconds >> 23 > 0 && seconds >> 53 == 0;
    is_exact.then(|| seconds as f64 + parts as f64 / power)
}

/// A shape that is not one is the shape of no value.
fn shape(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|shape| u32::try_from(shape).ok())
}

/// A lifetime; one that is not a number says nothing.
#[expect(clippy::cast_possible_truncation, reason = "a lifetime has seven digits")]
fn seconds(value: &Value) -> Option<f32> {
    value.as_f64().map(|seconds| (seconds as f32).max(f32::MIN_POSITIVE))
}

/// A version that is no small whole number is some other version: 0 stands
/// for it.
fn version(number: &Number) -> u32 {
    number.as_u64().and_then(|v| u32::try_from(v).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn read(frame: &'static [u8]) -> Entry {
        Entry::from_frame(&Bytes::from_static(frame))
    }

    fn reason(frame: &'static [u8]) -> String {
        match read(frame).payload {
            Payload::Unreadable(why) => why.to_string(),
            other => panic!("readable: {other:?}"),
        }
    }

    #[test]
    fn the_documented_example_reads_back() {
        let entry = read(br#"{"ct": 1763700000.25, "v": 2}|{"id": 7}"#);
        assert_eq!(entry.metadata, Metadata::created_at(1_763_700_000.25));
        assert!(matches!(entry.payload, Payload::Bytes(b) if b == br#"{"id": 7}"#[..]));
    }

    #[test]
    fn usual_headers_are_read_as_any_others_are() {
        for (header, ct) in [
            (r#"{"ct": 1763700000.25, "v": 2}"#, Some(1_763_700_000.25)),
            (r#"{"ct":1763700000.123457,"v":2}"#, Some(1_763_700_000.123_457)),
            (r#"{"ct": 17, "v": 2}"#, Some(17.0)),
            (r#"{"ct": 1.5e3, "v": 2}"#, None),
            (r#"{"ct": 1.2.3, "v": 2}"#, None),
            (r#"{"ct": 17., "v": 2}"#, None),
            (r#"{"ct": 017, "v": 2}"#, None),
            (r#"{"ct": -17, "v": 2}"#, None),
            (r#"{"ct": 17, "v": 20}"#, None),
            (r#"{"ct": 17, "v": 2, "x": 1}"#, None),
            (r#"{"ct":17,"v":2,"b":x}"#, None),
        ] {
            let frame = format!("{header}|x");
            let read = usual(frame.as_bytes());
            let expected = ct.map(|ct| (Metadata::created_at(ct), &b"x"[..]));
            assert_eq!(read, expected, "{header}");
            assert_eq!(usual(header.as_bytes()), None, "no bar");
            if let Some(ct) = ct {
                let any = HeaderIn::parse(header.as_bytes()).unwrap();
                assert_eq!(any.ct.to_bits(), ct.to_bits());
            }
        }
    }

    #[test]
    fn moments_are_read_to_the_last_bit() {
        let mut state = 1_u64;
        let mut next = |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 11) % bound
        };
        let mut texts: Vec<String> = Vec::new();
        for _ in 0..20_000 {
            let size = next(29);
            let whole = next(1 << (24 + size));
            let decimals = 1 + usize::try_from(next(9)).unwrap();
            let parts = next(10_u64.pow(u32::try_from(decimals).unwrap()));
            texts.push(format!("{whole}.{parts:0decimals$}"));
            // As this crate writes it, and the middle between two floats.
            texts.push((1.7e9 + next(1 << 50) as f64 / 1e7).to_string());
            let middle = (next(1 << 6) * 2 + 1) as f64 / 128.0;
            texts.push(format!("{}{}", next(1 << 46) + (1 << 46), &format!("{middle:.7}")[1..]));
        }
        for text in &texts {
            let expected: f64 = text.parse().unwrap();
            let whole = [text.as_bytes(), b","].concat();
            let read = usual_number(&whole);
            if let Some((read, rest)) = read {
                assert_eq!((read.to_bits(), rest), (expected.to_bits(), &b","[..]), "{text}");
            } else {
                assert!(text.starts_with('0'), "{text}");
            }
        }
    }

    #[test]
    fn of_a_name_given_twice_the_last_one_counts() {
        let entry = read(br#"{"ct": 1, "v": 2, "ct": 5, "s": 1, "s": 7}|x"#);
        assert_eq!((entry.metadata.ct, entry.metadata.shape), (5.0, Some(7)));
        let other = read(br#"{"v": 2, "ct": 5, "v": 3}|x"#);
        assert_ne!(other.metadata.v, entry.metadata.v);
    }

    #[test]
    fn the_shape_of_a_value_is_written_and_read_back() {
        for begun in [1_763_700_000.25, 1_763_700_000.125] {
            let mut entry = Entry::bytes("x", 1_763_700_000.25);
            entry.metadata.begun = begun;
            entry.metadata.shape = Some(u32::MAX);
            let frame = entry.to_frame().unwrap();
            assert_eq!(usual(&frame), Some((entry.metadata.clone(), &b"x"[..])), "{frame:?}");
            assert_eq!(Entry::from_frame(&frame).metadata, entry.metadata);
        }
        let read = read(br#"{"s": 7, "ct": 5, "v": 2}|x"#).metadata;
        assert_eq!(read.shape, Some(7));
        for odd in [
            r#"{"ct":5,"v":2,"s":-1}"#,
            r#"{"ct":5,"v":2,"s":"x"}"#,
            r#"{"ct":5,"v":2,"s":4294967296}"#,
        ] {
            let entry = Entry::from_frame(&Bytes::from(format!("{odd}|x")));
            assert_eq!(entry.metadata, Metadata::created_at(5.0), "{odd}");
        }
    }

    #[test]
    fn the_begin_of_a_creation_is_written_where_it_differs_and_read_back() {
        let mut entry = Entry::bytes("x", 1_763_700_000.25);
        assert_eq!(entry.to_frame().unwrap(), br#"{"ct":1763700000.25,"v":2}|x"#[..]);
        entry.metadata.begun = 1_763_700_000.125;
        let frame = entry.to_frame().unwrap();
        assert_eq!(frame, br#"{"ct":1763700000.25,"v":2,"b":1763700000.125}|x"#[..]);
        assert_eq!(Entry::from_frame(&frame).metadata, entry.metadata);
        for odd in ["null", "true", r#""soon""#, "[]"] {
            let frame = format!(r#"{{"ct": 5.0, "b": {odd}, "v": 2}}|x"#);
            let metadata = Entry::from_frame(&frame.into_bytes().into()).metadata;
            assert_eq!(metadata, Metadata::created_at(5.0), "{odd}");
        }
    }

    #[test]
    fn a_lifetime_of_its_own_is_written_and_read_back() {
        for (seconds, text) in [(300.0, "300.0"), (0.1, "0.1"), (1e7, "10000000.0")] {
            let mut entry = Entry::bytes("x", 5.0);
            entry.metadata = entry.metadata.with_lifetime(Some(Duration::from_secs_f64(seconds)));
            let frame = entry.to_frame().unwrap();
            assert_eq!(frame, format!(r#"{{"ct":5.0,"v":2,"e":{text}}}|x"#));
            assert_eq!(Entry::from_frame(&frame).metadata, entry.metadata);
        }
        let of = |text: &str| {
            let frame = format!(r#"{{"ct": 5.0, "v": 2, "e": {text}}}|x"#);
            Entry::from_frame(&frame.into_bytes().into()).metadata.lifetime()
        };
        for odd in ["null", "true", r#""soon""#, "1e300", "1e20"] {
            assert_eq!(of(odd), None, "{odd}");
        }
        for none in ["0", "0.0", "-5", "-1e300"] {
            assert_eq!(of(none), Some(Duration::ZERO), "{none}");
        }
        assert_eq!(of("60"), Some(Duration::from_secs(60)));
        let none = Metadata::created_at(5.0).with_lifetime(Some(Duration::ZERO));
        assert_eq!(none.lifetime(), Some(Duration::ZERO));
        let most = none.with_lifetime(Some(Duration::MAX)).lifetime();
        assert!(most.is_some_and(|most| most > Duration::from_secs(1 << 59)));
    }

    #[test]
    fn that_an_entry_is_kept_or_expired_is_written_and_read_back() {
        let mut entry = Entry::bytes("x", 5.0);
        entry.metadata = entry.metadata.with_keeping().with_extra("who", "x".into());
        let frame = entry.to_frame().unwrap();
        assert_eq!(frame, br#"{"ct":5.0,"v":2,"keep":true,"who":"x"}|x"#[..]);
        assert_eq!(Entry::from_frame(&frame).metadata, entry.metadata);
        let mut entry = Entry::bytes("x", 5.0);
        entry.metadata.expired = true;
        let frame = entry.to_frame().unwrap();
        assert_eq!(frame, br#"{"ct":5.0,"v":2,"x":true}|x"#[..]);
        assert_eq!(Entry::from_frame(&frame).metadata, entry.metadata);
        for name in ["keep", "x"] {
            for odd in ["false", "null", "1", r#""true""#] {
                let frame = format!(r#"{{"ct": 5.0, "{name}": {odd}, "v": 2}}|x"#);
                let metadata = Entry::from_frame(&frame.into_bytes().into()).metadata;
                assert_eq!(metadata, Metadata::created_at(5.0), "{name} {odd}");
            }
        }
    }

    #[test]
    fn any_order_spacing_and_further_keys_are_fine() {
        let entry = read(b"{ \"who\":\"x\" ,\"v\" : 2,\n\"ct\": 12 }|a|b");
        assert_eq!(entry.metadata.ct.to_bits(), 12.0_f64.to_bits());
        assert_eq!(entry.metadata.extra("who"), Some(&"x".into()));
        assert!(matches!(&entry.payload, Payload::Bytes(b) if b == &b"a|b"[..]));
        let again = Entry::from_frame(&entry.to_frame().unwrap());
        assert_eq!(again.metadata, entry.metadata);
    }

    #[test]
    fn broken_frames_say_what_is_wrong_and_nothing_of_the_value() {
        assert_eq!(reason(b""), "there is no | after the header");
        assert_eq!(reason(br#"{"ct": 1.0, "v": 2}"#), "there is no | after the header");
        let bad = "the header is not a JSON object with ct and v";
        for frame in [
            &b"|x"[..],
            b"not json|x",
            br#"{"v": 2}|x"#,
            br#"{"ct": "now", "v": 2}|x"#,
            br#"{"ct": 1e999, "v": 2}|x"#,
            br#"{"ct": null, "v": 2}|x"#,
            b"\xff\xfe|x",
        ] {
            assert_eq!(reason(frame), bad, "{}", String::from_utf8_lossy(frame));
        }
    }

    #[test]
    fn a_frame_that_cannot_be_parsed_is_stored_again_as_it_was() {
        for frame in [&b"some value"[..], b"", b"|x", b"\xff\xfe|x"] {
            let entry = Entry::from_frame(&Bytes::copy_from_slice(frame));
            assert_eq!(entry.to_frame().unwrap(), frame);
            assert!(!format!("{entry:?}").contains("some"), "{entry:?}");
        }
        let undone = read(br#"{"ct":5,"v":2}|x"#).with_unreadable_payload("it is encrypted");
        assert_eq!(undone.to_frame(), None);
    }

    #[test]
    fn an_absurd_header_is_neither_searched_nor_nested_to_its_end() {
        let long = Bytes::from(vec![b' '; MAX_HEADER + 10]);
        let entry = Entry::from_frame(&long);
        assert!(matches!(entry.payload, Payload::Unreadable(_)));
        let deep: Vec<u8> = std::iter::repeat_n(b'[', 10_000).chain(*b"|x").collect();
        assert!(matches!(Entry::from_frame(&deep.into()).payload, Payload::Unreadable(_)));
    }

    #[test]
    fn odd_versions_are_other_versions() {
        for frame in [&br#"{"ct": 1, "v": -2}|"#[..], br#"{"ct": 1, "v": 2.5}|"#] {
            assert_eq!(Entry::from_frame(&Bytes::copy_from_slice(frame)).metadata.v, 0);
        }
    }

    #[test]
    fn a_failure_is_kept_in_the_header() {
        let mut entry = Entry::bytes("x", 10.0);
        entry.metadata = entry.metadata.with_failure(Some(12.5));
        let frame = entry.to_frame().unwrap();
        assert_eq!(frame, br#"{"ct":10.0,"v":2,"f":12.5}|x"#[..]);
        let read = Entry::from_frame(&frame).metadata;
        assert_eq!((read.failed_at(), &read), (Some(12.5), &entry.metadata));
        for odd in [f64::NAN, f64::INFINITY] {
            assert_eq!(read.clone().with_failure(Some(odd)).failed_at(), None);
        }
        for frame in [&br#"{"ct":10.0,"v":2,"f":"x"}|x"#[..], br#"{"ct":10.0,"v":2,"f":null}|x"#] {
            assert_eq!(Entry::from_frame(&Bytes::from_static(frame)).metadata.failed_at(), None);
        }
    }
}
