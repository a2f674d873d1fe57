//! The item for an entry: its frame, compressed if it is long, and the
//! flags that say so.

use std::io::Read;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::{ZlibDecoder, ZlibEncoder};

use super::Shared;
use super::protocol::{Only, Request};
use crate::backend::BackendError;
use crate::value::{Entry, Malformed};

/// The flag of zlib's compression, as pylibmc, python-memcached and pymemcache
/// have it.
const COMPRESSED: u32 = 8;

/// A value that claims to be larger when decompressed cannot be read.
const LARGEST: u64 = 256 << 20;

/// The stored form of an entry.
pub(super) struct Item {
    pub(super) flags: u32,
    pub(super) value: Bytes,
    /// In the form that servers understand.
    pub(super) ttl: u32,
    /// Does the entry stay for longer than values do?
    pub(super) is_kept: bool,
}

impl Item {
    /// The request that stores it under `key`, to live for `ttl`.
    pub(super) fn storing<'k>(&self, key: &'k str, ttl: u32, only: Only) -> Request<'k> {
        Request::Store { key, flags: self.flags, value: self.value.clone(), ttl, only }
    }
}

impl Shared {
    /// Returns the item for `entry`, if it is not too large.
    pub(super) fn pack(&self, key: &str, entry: &Entry) -> Result<Item, BackendError> {
        self.check_key(key)?;
        let (flags, value) = pack(entry, self.options.min_compress)?;
        // The server's own head of an item, with its number.
        const HEAD: usize = 60;
        let (size, largest) = (value.len() + key.len() + HEAD, self.options.largest_item);
        if size > largest {
            return Err(BackendError::refused(format!(
                "the value makes an item of {size} bytes, and {largest} are allowed: what was stored stays (see `max_item_bytes`)"
            )));
        }
        let is_kept = entry.metadata.kept;
        let retention = self.options.retention.or(entry.metadata.retention());
        let ttl = ttl(retention.filter(|_| !is_kept));
        Ok(Item { flags, value, ttl, is_kept })
    }
}

/// Flags and bytes for `entry`.
fn pack(entry: &Entry, min_compress: Option<usize>) -> Result<(u32, Bytes), BackendError> {
    let refused = || BackendError::refused("memcached keeps bytes, not objects");
    let frame = entry.to_frame().ok_or_else(refused)?;
    if min_compress.is_none_or(|min| frame.len() < min) {
        return Ok((0, frame));
    }
    let mut compressed = Vec::new();
    ZlibEncoder::new(&frame[..], Compression::default())
        .read_to_end(&mut compressed)
        .map_err(BackendError::other)?;
    Ok(if compressed.len() < frame.len() { (COMPRESSED, compressed.into()) } else { (0, frame) })
}

/// The entry in an item.
pub(super) fn unpack(flags: u32, value: &Bytes) -> Entry {
    if flags & COMPRESSED == 0 {
        return Entry::from_frame(value);
    }
    let mut frame = Vec::new();
    match ZlibDecoder::new(&value[..]).take(LARGEST + 1).read_to_end(&mut frame) {
        Ok(_) if frame.len() as u64 <= LARGEST => Entry::from_frame(&frame.into()),
        Ok(_) => Entry::unreadable(Malformed::new("decompressed, it has more than 256 MiB")),
        Err(_) => Entry::unreadable(Malformed::new("it cannot be decompressed")),
    }
}

/// A time to live as servers understand it: none, up to thirty days in seconds,
/// and beyond that the moment of its end. It is never shorter than `time` by the server's clock, which may be
/// two seconds old: so much sooner the item may end.
pub(super) fn ttl(time: Option<Duration>) -> u32 {
    const THIRTY_DAYS: u64 = 30 * 24 * 60 * 60;
    // The text protocol reads no more than 31 bits.
    const LATEST: u64 = i32::MAX as u64;
    let Some(time) = time else { return 0 };
    let seconds = time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0));
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let value = match seconds {
        0..=THIRTY_DAYS => seconds.max(1),
        _ => seconds.saturating_add(now()).min(LATEST),
    };
    u32::try_from(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Payload;

    #[test]
    fn long_entries_are_compressed_and_come_back() {
        let entry = Entry::bytes(vec![b'x'; 10_000], 5.0);
        let (flags, value) = pack(&entry, Some(1_000)).unwrap();
        assert!(flags == COMPRESSED && value.len() < 1_000);
        let back = unpack(flags, &value);
        assert!(matches!(back.payload, Payload::Bytes(bytes) if bytes == vec![b'x'; 10_000]));
        assert_eq!(pack(&entry, None).unwrap().0, 0);
        assert_eq!(pack(&entry, Some(20_000)).unwrap().0, 0);
        let cut = unpack(COMPRESSED, &value.slice(..value.len() / 2));
        assert!(matches!(cut.payload, Payload::Unreadable(_)));
        assert!(matches!(
            unpack(COMPRESSED, &Bytes::from_static(b"no zlib")).payload,
            Payload::Unreadable(_)
        ));
    }

    #[test]
    fn times_above_thirty_days_are_moments() {
        assert_eq!(ttl(None), 0);
        assert_eq!(ttl(Some(Duration::from_millis(1))), 1);
        assert_eq!(ttl(Some(Duration::from_millis(1_001))), 2);
        assert_eq!(ttl(Some(Duration::from_secs(24 * 30 * 3_600))), 2_592_000);
        let moment = ttl(Some(Duration::from_secs(2_592_001)));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert!((now + 2_592_000..now + 2_592_100).contains(&u64::from(moment)));
        assert_eq!(ttl(Some(Duration::MAX)), u32::try_from(i32::MAX).unwrap());
    }
}
