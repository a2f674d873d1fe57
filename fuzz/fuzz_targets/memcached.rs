//! Answers of a memcached server, or of whoever sits in its place: an answer,
//! an end of the connection, or more to wait for; never a panic.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for is_binary in [false, true] {
        let count = dogpile::backend::read_answers(is_binary, data);
        assert!(count <= data.len());
    }
});
