//! Python's pickle, for plain data: `None`, booleans, numbers, text, bytes,
//! lists, tuples, sets, dicts. It is what a Python neighbour with
//! dogpile.cache's default settings writes.
//!
//! A pickle is a program for a small stack machine, which in Python can call
//! anything. Ours knows only the instructions that build data: `machine`
//! carries them out, `value` hands what was built to serde. Encoding is left to
//! the crate serde-pickle; its reader is not used, since it takes an object of
//! a class for an empty dict and follows nesting as deep as it goes.

mod machine;
mod value;

use serde_core::Serialize;
use serde_core::de::DeserializeSeed;

use super::{Codec, CodecError};

/// Python's pickle of plain data, to share values with a dogpile.cache that has
/// its default serializer.
///
/// Written are pickles of protocol 3; read are those of protocols 2 to 5.
/// Tuples and sets are read as sequences, objects of classes are refused:
/// nothing that a pickle says is ever run. A value is refused as well that is
/// nested deeper than 128 levels, or that grows out of proportion by referring
/// to its parts again and again.
///
/// ```
/// use dogpile::backend::SerializedMemory;
/// use dogpile::codec::Pickle;
/// use dogpile::{Config, Region};
///
/// let region = Region::new("shared with Python");
/// region.configure(Config::new(SerializedMemory::new(100)).codec(Pickle))?;
/// region.blocking().set("ada", &("Ada".to_owned(), 36))?;
/// assert_eq!(region.blocking().get("ada")?, Some(("Ada".to_owned(), 36)));
/// # Ok::<(), dogpile::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Pickle;

impl Codec for Pickle {
    fn name(&self) -> &'static str {
        "pickle"
    }

    fn encode<T: Serialize + ?Sized>(&self, value: &T) -> Result<Vec<u8>, CodecError> {
        let mut bytes = Vec::new();
        let options = serde_pickle::SerOptions::new();
        serde_pickle::to_writer(&mut bytes, &value, options).map_err(CodecError::new)?;
        Ok(bytes)
    }

    fn decode<'de, S: DeserializeSeed<'de>>(
        &self,
        bytes: &'de [u8],
        target: S,
    ) -> Result<S::Value, CodecError> {
        let built = machine::run(bytes)?;
        value::read(&built, bytes.len(), target).map_err(CodecError::new)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde::de::DeserializeOwned;
    use serde::{Deserialize, Serialize};

    use super::*;

    fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
        Pickle.decode(bytes, std::marker::PhantomData).map_err(|error| error.to_string())
    }

    fn there_and_back<T>(value: &T)
    where
        T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
    {
        let bytes = Pickle.encode(value).unwrap();
        assert_eq!(read::<T>(&bytes).as_ref(), Ok(value), "{bytes:?}");
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Shape {
        Empty,
        Named(String),
        Pair(i8, f64),
        Full { id: u64, tags: BTreeSet<char>, more: Option<Box<Shape>> },
    }

    #[test]
    fn values_survive_the_way_there_and_back() {
        there_and_back(&(i64::MIN, u64::MAX, -1_i8, 300_u16, 70_000_u32));
        there_and_back(&(0.1_f64, -0.0_f32, true, false, (), 'x'));
        there_and_back(&String::from("ünï\0code\u{1F600}"));
        there_and_back(&vec![Some(1), None]);
        there_and_back(&BTreeMap::from([(1_u8, "one".to_owned()), (2, "two".to_owned())]));
        there_and_back(&(0..2_500).collect::<Vec<u32>>());
        there_and_back(&(0..2_500).map(|n| (n, n)).collect::<BTreeMap<u32, u32>>());
        let inner = Shape::Full { id: 1, tags: BTreeSet::from(['a', 'b']), more: None };
        let more = Some(Box::new(inner));
        there_and_back(&vec![
            Shape::Empty,
            Shape::Named("n".into()),
            Shape::Pair(-3, 0.5),
            Shape::Full { id: u64::MAX, tags: BTreeSet::new(), more },
        ]);
    }

    #[test]
    fn what_python_writes_is_read() {
        // pickle.dumps({"id": 7, "names": ("Ada", b"x"), "big": 1 << 40}, 4)
        let bytes = b"\x80\x04\x95(\0\0\0\0\0\0\0}\x94(\x8c\x02id\x94K\x07\x8c\x05names\x94\
            \x8c\x03Ada\x94C\x01x\x94\x86\x94\x8c\x03big\x94\x8a\x06\0\0\0\0\0\x01u.";
        #[derive(Debug, PartialEq, Deserialize)]
        struct Row {
            id: u8,
            names: (String, Vec<u8>),
            big: i64,
        }
        let row = Row { id: 7, names: ("Ada".into(), b"x".to_vec()), big: 1 << 40 };
        assert_eq!(read(bytes), Ok(row));
        // pickle.dumps([x, x], 5), where x = {1}
        let twice = b"\x80\x05\x95\x0d\0\0\0\0\0\0\0]\x94(\x8f\x94(K\x01\x90h\x01e.";
        assert_eq!(read(twice), Ok([BTreeSet::from([1]), BTreeSet::from([1])]));
        // pickle.dumps(-(1 << 70))
        let large = b"\x80\x04\x95\x0d\0\0\0\0\0\0\0\x8a\x09\0\0\0\0\0\0\0\0\xc0.";
        assert_eq!(read(large), Ok(-(1_i128 << 70)));
    }

    #[test]
    fn code_is_refused_and_so_is_what_is_broken() {
        let refused = |bytes: &[u8]| read::<serde_json::Value>(bytes).unwrap_err();
        // os.system("true"), in protocols 0, 2 and 4.
        assert!(refused(b"cos\nsystem\n(S'true'\ntR.").contains("protocol"));
        assert!(refused(b"\x80\x02cposix\nsystem\n\x8c\x04true\x85R.").contains("plain data"));
        let modern = b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.";
        assert!(refused(modern).contains("plain data"));
        for broken in [
            &b""[..],
            b"\x80",
            b"\x80\x04",
            b"\x80\x04.",
            b"\x80\x04K",
            b"\x80\x04K\x01",
            b"\x80\x04K\x01K\x02.",
            b"\x80\x04K\x01.x",
            b"\x80\x04a.",
            b"\x80\x04(e.",
            b"\x80\x04K\x01K\x02a.",
            b"\x80\x04h\x07.",
            b"\x80\x04}(K\x01u.",
            b"\x80\x04\x8c\x09short.",
            b"\x80\x04\x8c\x01\xff.",
            b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xff.",
            b"\x80\x04\x8a\x20aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.",
            b"\x80\x09N.",
        ] {
            assert!(read::<serde_json::Value>(broken).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn neither_nesting_nor_repetition_exhausts_anything() {
        let deep = [&b"\x80\x04"[..], &b"]".repeat(200_000), &b"a".repeat(199_999), b"."].concat();
        assert!(read::<serde_json::Value>(&deep).unwrap_err().contains("deep"));
        assert!(read::<serde::de::IgnoredAny>(&deep).is_ok(), "it need not be followed");
        // A list that contains itself.
        let endless = b"\x80\x04]\x94h\x00a.";
        assert!(read::<serde_json::Value>(endless).unwrap_err().contains("deep"));
        // Ten lists, each of which is ten times the one before.
        let mut laughing = b"\x80\x04N\x94".to_vec();
        for level in 0..10_u8 {
            laughing.extend(b"0](");
            laughing.extend([b'h', level].repeat(10));
            laughing.extend(b"e\x94");
        }
        laughing.push(b'.');
        assert!(read::<serde_json::Value>(&laughing).unwrap_err().contains("repeats"));
        assert!(read::<serde::de::IgnoredAny>(&laughing).is_ok());
    }
}
