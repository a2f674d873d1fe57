//! Foreign data in place of a collection's data and parts: a table,
//! or an error; never a panic, and never more memory than is allowed.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Vec<u8>, Vec<u8>)| {
    let (data, part) = (Bytes::from(input.0), Bytes::from(input.1));
    dogpile::collections::read_data(&data, &part);
    // A good header: what follows it is the batches.
    let bytes = part.len();
    let header = format!(
        r#"{{"ct":1,"v":2,"collection":{{"codec":"json","entries":1,"bytes":{bytes},"parts":3}}}}|"#
    );
    let framed = Bytes::from([header.as_bytes(), &part].concat());
    dogpile::collections::read_data(&framed, &part);
    let compressed = framed.to_vec();
    let compressed = String::from_utf8_lossy(&compressed).replace("\"parts\"", "\"compression\":\"lz4\",\"upload\":\"u\",\"parts\"");
    dogpile::collections::read_data(&Bytes::from(compressed.into_bytes()), &part);
});
