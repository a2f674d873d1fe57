//! Compresses payloads above a size.

use std::io::{self, Read, Write};

use bytes::Bytes;

use super::{Layer, Transform, Transforming};
use crate::backend::{AnyBackend, BackendError};
use crate::value::extra::COMPRESSED;
use crate::value::{Entry, Payload};

/// Compresses payloads of at least a minimum size, where that makes them
/// smaller.
///
/// The header of a compressed value says so (`"z": "zstd"`), so that values
/// written with and without the proxy, or with another algorithm, live side
/// by side. A reader without the proxy, Python's included, cannot read
/// compressed ones. Live objects pass through untouched.
///
/// What is read back is bounded, 64 MiB unless set: a stored value that claims
/// to be larger counts as unreadable.
#[derive(Debug, Clone)]
pub struct Compression {
    algorithm: Algorithm,
    min_size: usize,
    max_size: usize,
}

/// The algorithms for payloads. All are read, whichever is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Algorithm {
    /// Zstandard at this level, 1 (fast) to 22 (small); 3 is its default.
    Zstd(i32),
    /// LZ4: larger than Zstandard, and faster.
    Lz4,
}

impl Compression {
    /// Compresses payloads of 1 KiB and more.
    pub fn new(algorithm: Algorithm) -> Self {
        Self { algorithm, min_size: 1024, max_size: 64 << 20 }
    }

    /// Leaves payloads below this many bytes as they are.
    #[must_use]
    pub fn min_size(mut self, bytes: usize) -> Self {
        self.min_size = bytes;
        self
    }

    /// Refuses to read payloads that decompress to more than this many bytes,
    /// and leaves larger ones uncompressed when writing.
    #[must_use]
    pub fn max_size(mut self, bytes: usize) -> Self {
        self.max_size = bytes;
        self
    }
}

impl Algorithm {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Zstd(_) => "zstd",
            Self::Lz4 => "lz4",
        }
    }

    pub(crate) fn compress(self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Zstd(level) => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), level)?;
                // So that the reader's window need not be larger than the value.
                encoder.set_pledged_src_size(Some(bytes.len() as u64))?;
                encoder.write_all(bytes)?;
                encoder.finish()
            }
            Self::Lz4 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
                encoder.write_all(bytes)?;
                Ok(encoder.finish()?)
            }
        }
    }
}

/// The binary logarithm of the window that a value of up to `limit` bytes needs, within the
/// bounds of zstd.
fn window_log(limit: usize) -> u32 {
    const SMALLEST: u32 = 10;
    const LARGEST: u32 = 27;
    limit
        .max(1)
        .checked_next_power_of_two()
        .map_or(LARGEST, usize::trailing_zeros)
        .clamp(SMALLEST, LARGEST)
}

/// Undoes the algorithm called `name`, up to `limit` bytes.
pub(crate) fn decompress(name: &str, bytes: &[u8], limit: usize) -> io::Result<Vec<u8>> {
    let decoder: Box<dyn Read + '_> = match name {
        "zstd" => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes)?;
            // The frame says how much memory it wants before anything is read.
            decoder.window_log_max(window_log(limit))?;
            Box::new(decoder)
        }
        "lz4" => Box::new(lz4_flex::frame::FrameDecoder::new(bytes)),
        _ => return Err(io::Error::other("compressed by an unknown algorithm")),
    };
    let mut plain = Vec::new();
    decoder.take((limit as u64).saturating_add(1)).read_to_end(&mut plain)?;
    if plain.len() > limit {
        return Err(io::Error::other("larger than the limit when decompressed"));
    }
    Ok(plain)
}

impl Transform for Compression {
    fn name(&self) -> &'static str {
        "Compression"
    }

    fn write(&self, _key: &str, entry: Entry) -> Result<Entry, BackendError> {
        let Payload::Bytes(bytes) = &entry.payload else { return Ok(entry) };
        if bytes.len() < self.min_size || bytes.len() > self.max_size {
            return Ok(entry);
        }
        let compressed = self.algorithm.compress(bytes).map_err(BackendError::other)?;
        if compressed.len() >= bytes.len() {
            return Ok(entry);
        }
        let metadata = entry.metadata.with_extra(COMPRESSED, self.algorithm.name().into());
        Ok(Entry { metadata, payload: Payload::Bytes(compressed.into()) })
    }

    fn read(&self, _key: &str, entry: Entry) -> Entry {
        let (Payload::Bytes(bytes), Some(algorithm)) =
            (&entry.payload, entry.metadata.extra(COMPRESSED))
        else {
            return entry;
        };
        let algorithm = algorithm.as_str().unwrap_or_default();
        match decompress(algorithm, bytes, self.max_size) {
            Ok(plain) => Entry {
                payload: Payload::Bytes(Bytes::from(plain)),
                metadata: entry.metadata.without_extra(COMPRESSED),
            },
            Err(error) => entry.with_unreadable_payload(&format!("compression: {error}")),
        }
    }
}

impl Layer for Compression {
    fn layer(self, inner: AnyBackend) -> AnyBackend {
        Transforming(self).layer(inner)
    }
}
