//! Pickles from strangers: an answer to whatever bytes there are, and what is
//! read of them is the same after it was written again.

#![no_main]

use std::marker::PhantomData;

use dogpile::codec::{Codec, Pickle};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    // A header saves the fuzzer from finding it.
    for bytes in [data.to_vec(), [b"\x80\x04", data, b"."].concat()] {
        let Ok(value) = Pickle.decode(&bytes, PhantomData::<Value>) else { continue };
        let written = Pickle.encode(&value).expect("it is plain data");
        let again = Pickle.decode(&written, PhantomData::<Value>).expect("it was written here");
        assert_eq!(value, again);
    }
});
