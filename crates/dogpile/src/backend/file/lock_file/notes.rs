//! Notes of who creates what, for people who look: one per lock in the lock file, in
//! a table of fixed places. The kernel's locks are the truth; a note counts
//! only while its lock is held. Two locks that share a place overwrite each
//! other's note.

use std::fs::File;
use std::io;
use std::time::Duration;

use super::Hash;
use crate::backend::inspect::HeldLock;
use crate::clock::{Clock, SystemClock};

const PLACES: u64 = 1024;
const PLACE_BYTES: usize = 256;
/// Hash, time, process, length of the key.
const HEADER: usize = 8 + 8 + 4 + 2;
const MOST_KEY: usize = PLACE_BYTES - HEADER;

/// Behind the notes: what kind of file this is, and the number of the database that the
/// locks are of.
const SIGNATURE: &[u8; 16] = b"dogpile locks 1\n";
const SIGNED_AT: u64 = PLACES * PLACE_BYTES as u64;
const DATABASE_AT: u64 = SIGNED_AT + 16;

/// Is it a lock file? An empty file becomes one.
pub(super) fn sign(file: &File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        write_at(file, SIGNATURE, SIGNED_AT)?;
        return Ok(true);
    }
    let mut found = [0; 16];
    Ok(read_at(file, &mut found, SIGNED_AT)? == found.len() && found == *SIGNATURE)
}

/// The number of the database that the locks are of, if that was noted.
pub(super) fn database(file: &File) -> Option<u64> {
    let mut number = [0; 8];
    let read = read_at(file, &mut number, DATABASE_AT).ok()?;
    (read == number.len()).then(|| u64::from_le_bytes(number))
}

/// Notes which database the locks are of.
pub(super) fn note_database(file: &File, number: u64) {
    let _ = write_at(file, &number.to_le_bytes(), DATABASE_AT);
}

/// Notes that this process holds the lock of `key`. Where that fails, only
/// those who look miss something.
pub(super) fn write(file: &File, hash: Hash, key: &str) {
    let end = (0..=key.len().min(MOST_KEY)).rev().find(|end| key.is_char_boundary(*end));
    let shown = &key[..end.unwrap_or(0)];
    let mut note = Vec::with_capacity(PLACE_BYTES);
    note.extend(hash.0.to_le_bytes());
    note.extend(SystemClock.now().to_le_bytes());
    note.extend(std::process::id().to_le_bytes());
    note.extend(u16::try_from(shown.len()).unwrap_or(0).to_le_bytes());
    note.extend(shown.as_bytes());
    let _ = write_at(file, &note, hash.0 % PLACES * PLACE_BYTES as u64);
}

/// All notes, outdated ones included.
pub(super) fn read(file: &File) -> io::Result<Vec<(Hash, HeldLock)>> {
    let mut bytes = vec![0; usize::try_from(PLACES).unwrap_or(0) * PLACE_BYTES];
    let length = read_at(file, &mut bytes, 0)?;
    bytes.truncate(length);
    bytes.resize(length.next_multiple_of(PLACE_BYTES), 0);
    let now = SystemClock.now();
    Ok(bytes.chunks_exact(PLACE_BYTES).filter_map(|place| parse(place, now)).collect())
}

fn parse(place: &[u8], now: f64) -> Option<(Hash, HeldLock)> {
    let (hash, rest) = place.split_first_chunk::<8>()?;
    let (since, rest) = rest.split_first_chunk::<8>()?;
    let (process, rest) = rest.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let process = u32::from_le_bytes(*process);
    let key = rest.get(..usize::from(u16::from_le_bytes(*length)))?;
    let age = Duration::try_from_secs_f64((now - f64::from_le_bytes(*since)).max(0.0)).ok();
    let lock = HeldLock {
        key: String::from_utf8_lossy(key).into_owned(),
        holder: format!("process {process}"),
        age,
    };
    (process != 0).then_some((Hash(u64::from_le_bytes(*hash)), lock))
}

#[cfg(unix)]
pub(super) fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(unix)]
pub(super) fn read_at(file: &File, mut bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut length = 0;
    while !bytes.is_empty() {
        match std::os::unix::fs::FileExt::read_at(file, bytes, offset + length as u64)? {
            0 => break,
            read => {
                length += read;
                bytes = &mut bytes[read..];
            }
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_read_back_and_junk_does_no_harm() {
        let file = tempfile::tempfile().unwrap();
        let long = "ü".repeat(300);
        write(&file, Hash(1), "short");
        write(&file, Hash(2), &long);
        write_at(&file, &[0xff; PLACE_BYTES], 3 * PLACE_BYTES as u64).unwrap();
        let notes = read(&file).unwrap();
        assert_eq!(notes.len(), 2, "the junk is no note");
        assert_eq!((notes[0].0, &*notes[0].1.key), (Hash(1), "short"));
        assert_eq!(notes[0].1.holder, format!("process {}", std::process::id()));
        assert!(long.starts_with(&notes[1].1.key) && notes[1].1.key.len() > 200);
    }
}
