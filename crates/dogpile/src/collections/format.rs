//! The format of a revision's data: a header like that of any value
//! here, and batches of entries; in parts where they are large, or as one
//! pickle, as Python's cached-collections has them.
//!
//! ```text
//! {"ct": .., "v": 2, "collection": {..}}|payload       small: all of it in the payload
//! {"ct": .., "v": 2, "collection": {.., "parts": 3, "upload": ".."}}|    part 0, part 1, part 2
//! ```
//!
//! A payload or part is a row of batches, each with its length before it (four
//! bytes, little-endian); compressed, if the header says so. What is read may be
//! a stranger's: everything is bounded and checked.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::table::{Joining, Parting, Table};
use crate::backend::BackendError;
use crate::clock::Timestamp;
use crate::codec::{CodecError, RegionCodec, check};
use crate::proxy::{Algorithm, decompress};
use crate::value::{Entry, Payload};

/// The key of the header that tells of the collection.
const HEADER: &str = "collection";

/// The codec and compression of a collection's data.
#[derive(Debug, Clone)]
pub(super) struct Format {
    pub(super) codec: RegionCodec,
    /// One pickle without a header, for Python.
    pub(super) bare: bool,
    pub(super) compression: Option<Algorithm>,
    /// Data below this many bytes are not compressed.
    pub(super) min_compressed: usize,
    /// A part is about this large, in bytes, before it is compressed.
    pub(super) part_size: usize,
    /// Data of more than this many bytes are neither written nor read.
    pub(super) max_size: u64,
}

impl Default for Format {
    fn default() -> Self {
        Self {
            codec: RegionCodec::Json,
            bare: false,
            compression: Some(Algorithm::Zstd(1)),
            min_compressed: 1 << 10,
            part_size: 4 << 20,
            max_size: 1 << 30,
        }
    }
}

/// The description of the data in the header.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) codec: String,
    /// Is it a mapping or a sequence? Their entries may look alike.
    pub(crate) kind: String,
    pub(crate) entries: u64,
    /// Size before compression.
    pub(crate) bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) compression: Option<String>,
    /// The place where the parts are, if the data are not in the payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) upload: Option<String>,
    #[serde(default)]
    pub(crate) parts: u32,
    /// A number for the names of all fields in the entries, if they have some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) shape: Option<u32>,
}

/// Why stored data are of no use.
#[derive(Debug)]
pub(super) enum DecodeError {
    /// They were replaced while they were being read: there are newer ones.
    Superseded,
    /// Nobody here can read them, for this reason.
    Unreadable(String),
    /// The store failed.
    Backend(BackendError),
}

impl From<CodecError> for DecodeError {
    fn from(error: CodecError) -> Self {
        Self::Unreadable(error.to_string())
    }
}

fn unreadable(why: impl fmt::Display) -> DecodeError {
    DecodeError::Unreadable(why.to_string())
}

/// A revision to be published, once its parts are written.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) data: Bytes,
    pub(super) upload: Option<String>,
    pub(super) parts: u32,
    /// The written bytes.
    pub(super) written: u64,
}

impl Format {
    /// Writes `table` down: all that does not fit into one part is handed to
    /// `write`, part by part.
    pub(super) fn pack<D: Table>(
        &self,
        table: &D,
        ct: Timestamp,
        upload: &str,
        mut write: impl FnMut(u32, Bytes) -> Result<(), BackendError>,
    ) -> Result<Packed, BackendError> {
        if self.bare {
            let data = check::encode::<D, D>(&self.codec, table).map_err(BackendError::refused)?;
            self.check_size(data.len() as u64)?;
            let written = data.len() as u64;
            return Ok(Packed { data, upload: None, parts: 0, written });
        }
        let mut packing =
            Packing { format: self, part: Vec::new(), parts: 0, bytes: 0, written: 0, error: None };
        let emit = &mut |batch: &[u8]| packing.add(batch, &mut write);
        let taken = table.take_apart(&mut Parting { codec: &self.codec, emit });
        if let Some(error) = packing.error.take() {
            return Err(error);
        }
        taken.map_err(BackendError::refused)?;
        packing.finish(table, ct, upload, write)
    }

    fn check_size(&self, bytes: u64) -> Result<(), BackendError> {
        if bytes <= self.max_size {
            return Ok(());
        }
        let most = self.max_size;
        let message =
            format!("the data take more than {most} bytes: raise `max_bytes` of the collection");
        Err(BackendError::refused(message))
    }

    /// Reads what [`pack`](Self::pack) has written; `read` gets the parts.
    pub(super) fn unpack<D: Table>(
        &self,
        data: &Bytes,
        mut read: impl FnMut(&str, u32) -> Result<Option<Bytes>, BackendError>,
    ) -> Result<(D, u64), DecodeError> {
        let mut bytes = data.len() as u64;
        if self.bare {
            self.check_size(bytes).map_err(unreadable)?;
            return Ok((self.codec.decode(data)?, bytes));
        }
        let (manifest, payload) = manifest(data).map_err(unreadable)?;
        if manifest.codec != self.codec.name() {
            let (theirs, ours) = (&manifest.codec, self.codec.name());
            return Err(unreadable(format_args!(
                "the data were written with the codec `{theirs}`, this collection's is `{ours}`"
            )));
        }
        if manifest.kind != D::KIND {
            let (theirs, ours) = (&manifest.kind, D::KIND);
            return Err(unreadable(format_args!("the data are a {theirs}, this is a {ours}")));
        }
        self.check_size(manifest.bytes).map_err(unreadable)?;
        let mut unpacking = Unpacking { format: self, manifest: &manifest, left: manifest.bytes };
        let mut table = D::default();
        match &manifest.upload {
            None => unpacking.add(&mut table, &payload)?,
            Some(upload) => {
                for index in 0..manifest.parts {
                    let part = read(upload, index).map_err(DecodeError::Backend)?;
                    let part = part.ok_or(DecodeError::Superseded)?;
                    if part.is_empty() {
                        return Err(unreadable("a part is empty"));
                    }
                    bytes += part.len() as u64;
                    unpacking.add(&mut table, &part)?;
                }
            }
        }
        if table.count() as u64 != manifest.entries {
            let (found, said) = (table.count(), manifest.entries);
            return Err(unreadable(format_args!("there are {found} entries instead of {said}")));
        }
        if manifest.shape.is_some() && manifest.shape != check::shape(&table) {
            return Err(unreadable("their type had other fields when they were stored"));
        }
        Ok((table, bytes))
    }
}

/// Returns what the header of stored data says, and what follows it.
pub(crate) fn manifest(data: &Bytes) -> Result<(Manifest, Bytes), String> {
    let entry = Entry::from_frame(data);
    let header = entry.metadata.extra(HEADER).cloned();
    match (header, entry.payload) {
        (Some(header), Payload::Bytes(payload)) => {
            let manifest = serde_json::from_value(header).map_err(|error| error.to_string())?;
            Ok((manifest, payload))
        }
        (_, Payload::Unreadable(why)) => Err(why.to_string()),
        _ => Err("not a collection written by this crate".to_owned()),
    }
}

/// A table on its way into parts.
struct Packing<'f> {
    format: &'f Format,
    part: Vec<u8>,
    parts: u32,
    /// So far, before compression.
    bytes: u64,
    written: u64,
    /// The error that kept a part from being written.
    error: Option<BackendError>,
}

type Write<'w> = dyn FnMut(u32, Bytes) -> Result<(), BackendError> + 'w;

impl Packing<'_> {
    fn add(&mut self, batch: &[u8], write: &mut Write<'_>) -> Result<(), CodecError> {
        let noted = |packing: &mut Self, error| {
            packing.error = Some(error);
            CodecError::new("it was not written")
        };
        if self.part.len() + batch.len() > self.format.part_size && !self.part.is_empty() {
            self.flush(write).map_err(|error| noted(self, error))?;
        }
        let length = u32::try_from(batch.len()).map_err(CodecError::new)?;
        self.part.extend(length.to_le_bytes());
        self.part.extend(batch);
        self.bytes += 4 + batch.len() as u64;
        self.format.check_size(self.bytes).map_err(|error| noted(self, error))
    }

    fn flush(&mut self, write: &mut Write<'_>) -> Result<(), BackendError> {
        let part = match self.format.compression {
            Some(algorithm) => algorithm.compress(&self.part).map_err(BackendError::other)?,
            None => self.part.clone(),
        };
        self.part.clear();
        self.written += part.len() as u64;
        write(self.parts, part.into())?;
        self.parts += 1;
        Ok(())
    }

    fn finish<D: Table>(
        mut self,
        table: &D,
        ct: Timestamp,
        upload: &str,
        mut write: impl FnMut(u32, Bytes) -> Result<(), BackendError>,
    ) -> Result<Packed, BackendError> {
        let mut compression = self.format.compression;
        if self.parts > 0 {
            self.flush(&mut write)?;
        } else if self.part.len() < self.format.min_compressed {
            compression = None;
        } else if let Some(algorithm) = compression {
            self.part = algorithm.compress(&self.part).map_err(BackendError::other)?;
        }
        let upload = (self.parts > 0).then(|| upload.to_owned());
        let manifest = Manifest {
            codec: self.format.codec.name().to_owned(),
            kind: D::KIND.to_owned(),
            entries: table.count() as u64,
            bytes: self.bytes,
            compression: compression.map(|algorithm| algorithm.name().to_owned()),
            upload: upload.clone(),
            parts: self.parts,
            shape: check::shape(table),
        };
        let header = serde_json::to_value(manifest).map_err(BackendError::other)?;
        let mut entry = Entry::bytes(self.part, ct);
        entry.metadata = entry.metadata.with_extra(HEADER, header);
        let data = entry
            .to_frame()
            .ok_or_else(|| BackendError::other("not a collection: a live object"))?;
        let written = self.written + data.len() as u64;
        Ok(Packed { data, upload, parts: self.parts, written })
    }
}

/// A table on its way out of parts.
struct Unpacking<'m> {
    format: &'m Format,
    manifest: &'m Manifest,
    /// Bytes that may still come.
    left: u64,
}

impl Unpacking<'_> {
    fn add<D: Table>(&mut self, table: &mut D, part: &Bytes) -> Result<(), DecodeError> {
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let plain = match &self.manifest.compression {
            None => part.clone(),
            Some(name) => decompress(name, part, left).map_err(unreadable)?.into(),
        };
        if plain.len() > left || (plain.is_empty() && self.manifest.parts > 0) {
            return Err(unreadable("there is more or less than the header says"));
        }
        self.left -= plain.len() as u64;
        let mut rest = &plain[..];
        while let Some((length, batches)) = rest.split_first_chunk::<4>() {
            let length = u32::from_le_bytes(*length) as usize;
            let Some((batch, after)) = batches.split_at_checked(length) else {
                return Err(unreadable("a batch is cut"));
            };
            table.add(&Joining(&self.format.codec), batch)?;
            rest = after;
        }
        if rest.is_empty() { Ok(()) } else { Err(unreadable("a batch is cut")) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use proptest::prelude::*;

    use super::*;

    type Parts = BTreeMap<(String, u32), Bytes>;

    fn pack<D: Table>(format: &Format, table: &D) -> (Packed, Parts) {
        let mut parts = Parts::new();
        let packed = format.pack(table, 7.0, "u1", |index, part| {
            parts.insert(("u1".to_owned(), index), part);
            Ok(())
        });
        (packed.unwrap(), parts)
    }

    fn unpack<D: Table>(format: &Format, packed: &Packed, parts: &Parts) -> Result<D, DecodeError> {
        let read = |upload: &str, index| Ok(parts.get(&(upload.to_owned(), index)).cloned());
        format.unpack(&packed.data, read).map(|(table, _)| table)
    }

    fn small_parts() -> Format {
        Format { part_size: 1 << 10, ..Format::default() }
    }

    #[test]
    fn large_tables_are_in_parts_and_small_ones_are_not() {
        let table: HashMap<u32, String> = (0..2_000).map(|n| (n, format!("row {n}"))).collect();
        let (packed, parts) = pack(&small_parts(), &table);
        assert!(parts.len() > 1);
        assert_eq!(unpack::<HashMap<u32, String>>(&small_parts(), &packed, &parts).unwrap(), table);

        let (packed, parts) = pack(&Format::default(), &table);
        assert!(parts.is_empty() && packed.upload.is_none());
        let (manifest, payload) = manifest(&packed.data).unwrap();
        assert_eq!((manifest.entries, manifest.parts), (2_000, 0));
        assert!(payload.len() < 20_000, "it is compressed");
        assert_eq!(
            unpack::<HashMap<u32, String>>(&Format::default(), &packed, &parts).unwrap(),
            table
        );
    }

    #[test]
    fn a_part_that_is_gone_means_that_there_is_a_newer_revision() {
        let table: Vec<u32> = (0..5_000).collect();
        let (packed, mut parts) = pack(&small_parts(), &table);
        parts.pop_last();
        let unpacked = unpack::<Vec<u32>>(&small_parts(), &packed, &parts);
        assert!(matches!(unpacked, Err(DecodeError::Superseded)));
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Before {
        id: u32,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct After {
        id: u32,
        name: Option<String>,
    }

    #[test]
    fn a_field_that_entries_have_gained_is_never_read_as_none() {
        let list: Vec<Before> = (0..500).map(|id| Before { id }).collect();
        let map: HashMap<u32, Before> = list.iter().map(|row| (row.id, row.clone())).collect();
        for format in [small_parts(), Format::default()] {
            let (packed, parts) = pack(&format, &list);
            assert_eq!(unpack::<Vec<Before>>(&format, &packed, &parts).unwrap(), list);
            let unpacked = unpack::<Vec<After>>(&format, &packed, &parts);
            let Err(DecodeError::Unreadable(why)) = unpacked else { panic!("{unpacked:?}") };
            assert!(why.contains("other fields"), "{why}");
            let (packed, parts) = pack(&format, &map);
            assert_eq!(unpack::<HashMap<u32, Before>>(&format, &packed, &parts).unwrap(), map);
            assert!(unpack::<HashMap<u32, After>>(&format, &packed, &parts).is_err());
        }
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let why = |format: &Format, packed: &Packed, parts: &Parts| match unpack::<Vec<u32>>(
            format, packed, parts,
        ) {
            Err(DecodeError::Unreadable(why)) => why,
            other => panic!("{other:?}"),
        };
        let (packed, mut parts) = pack(&small_parts(), &(0..5_000).collect::<Vec<u32>>());
        let small = Format { max_size: 100, ..small_parts() };
        assert!(why(&small, &packed, &parts).contains("max_bytes"));
        let first = parts.values().next().unwrap().clone();
        for part in parts.values_mut().skip(1) {
            *part = first.clone();
        }
        assert!(why(&small_parts(), &packed, &parts).contains("entries"));
        *parts.values_mut().next().unwrap() = Bytes::from_static(b"no zstd");
        assert!(!why(&small_parts(), &packed, &parts).is_empty());
        let foreign =
            |data: &'static [u8]| Packed { data: data.into(), upload: None, parts: 0, written: 0 };
        assert!(why(&small_parts(), &foreign(b"\x80\x04]."), &parts).contains("header"));
        assert!(
            why(&small_parts(), &foreign(br#"{"ct":1,"v":2}|[]"#), &parts).contains("not a coll")
        );
    }

    #[test]
    fn what_is_too_large_is_not_written() {
        let format = Format { max_size: 1_000, ..small_parts() };
        let table: Vec<u32> = (0..5_000).collect();
        let refused = format.pack(&table, 0.0, "u", |_, _| Ok(())).unwrap_err();
        assert!(refused.to_string().contains("max_bytes"), "{refused}");
        let away = small_parts()
            .pack(&table, 0.0, "u", |_, _| Err(BackendError::unavailable("the server is away")));
        assert_eq!(away.unwrap_err().to_string(), "the server is away");
    }

    proptest! {
        #[test]
        fn every_table_survives(
            entries in proptest::collection::hash_map(any::<(i64, bool)>(), ".{0,40}", 0..300),
            part_size in 0_usize..4_000,
            compressed: bool,
        ) {
            let compression = compressed.then_some(Algorithm::Lz4);
            let format = Format { compression, part_size, ..Format::default() };
            let (packed, parts) = pack(&format, &entries);
            let back: HashMap<(i64, bool), String> = unpack(&format, &packed, &parts).unwrap();
            prop_assert_eq!(&back, &entries);
            let list: Vec<_> = entries.into_iter().collect();
            let (packed, parts) = pack(&format, &list);
            let back: Vec<((i64, bool), String)> = unpack(&format, &packed, &parts).unwrap();
            prop_assert_eq!(back, list);
        }

        #[test]
        fn broken_bytes_are_an_error(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            at in any::<prop::sample::Index>(),
        ) {
            let format = Format { compression: None, ..Format::default() };
            let _ = unpack::<Vec<u32>>(
                &format,
                &Packed { data: bytes.clone().into(), upload: None, parts: 0, written: 0 },
                &Parts::new(),
            );
            let (mut packed, parts) = pack(&format, &(0..300).collect::<Vec<u32>>());
            let mut scribbled = packed.data.to_vec();
            let at = at.index(scribbled.len());
            for (place, byte) in scribbled.iter_mut().skip(at).zip(bytes) {
                *place = byte;
            }
            packed.data = scribbled.into();
            let _ = unpack::<Vec<u32>>(&format, &packed, &parts);
        }
    }
}
