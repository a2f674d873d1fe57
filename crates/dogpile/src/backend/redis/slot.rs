//! Which of a cluster's 16,384 slots a key is in.

/// The slot of `key`: by what stands between its first braces, if anything
/// does, or else by all of it.
pub(super) fn of(key: impl AsRef<[u8]>) -> u16 {
    let key = key.as_ref();
    let after_brace = key.iter().position(|&byte| byte == b'{').map(|at| &key[at + 1..]);
    let tag = after_brace.and_then(|rest| {
        rest.split(|&byte| byte == b'}').next().filter(|tag| tag.len() < rest.len())
    });
    crc16(tag.filter(|tag| !tag.is_empty()).unwrap_or(key)) % 16_384
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, &byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_servers() {
        // CRC-16/XMODEM's check value.
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(of("123456789"), 0x31c3);
        assert_eq!(of("{user:1}:name"), of("_lock{user:1}:name"));
        assert_eq!(of("a{}b"), crc16(b"a{}b") % 16_384);
        assert_ne!(of("key"), of("_lockkey"));
    }
}
