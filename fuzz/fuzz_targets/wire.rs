//! Frames from a shared store: reading them does not panic, and what was read
//! is written and read again as the same.

#![no_main]

use bytes::Bytes;
use dogpile::value::{Entry, Payload};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let entry = Entry::from_frame(&Bytes::copy_from_slice(data));
    let Some(frame) = entry.to_frame() else { return };
    let again = Entry::from_frame(&frame);
    // A header that has grown past the limit by being written anew is one
    // that nobody writes.
    if let (Payload::Bytes(one), Payload::Bytes(two)) = (&entry.payload, &again.payload) {
        assert_eq!(one, two);
        assert_eq!(entry.metadata, again.metadata);
    }
});
