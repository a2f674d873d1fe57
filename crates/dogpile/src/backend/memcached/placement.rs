//! Which of several servers has a key. Clients of one set of servers must agree
//! on it.

use std::fmt;
use std::sync::Arc;

/// The distribution of keys over several servers.
#[derive(Clone, Default)]
pub enum Placement {
    /// The server that a hash of its name and the key makes the highest: when
    /// a server comes or goes, only its own keys move. It is what pymemcache's
    /// `HashClient` does; names must be written as there, `host:port`.
    #[default]
    Rendezvous,
    /// The key's hash modulo the number of servers, in their order: what
    /// pylibmc and libmemcached do by default. When the number changes, nearly
    /// all keys move.
    Modulo,
    /// The index of the server, from the key and the servers' names: to match
    /// any other client. An index that is too high means the last server.
    Own(Arc<Place>),
}

/// A function from a key and the servers' names, as they were given, to the
/// index of one of them.
pub type Place = dyn Fn(&str, &[String]) -> usize + Send + Sync;

impl fmt::Debug for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rendezvous => "Rendezvous",
            Self::Modulo => "Modulo",
            Self::Own(_) => "Own",
        })
    }
}

impl Placement {
    /// The index of the server that has `key`.
    pub(super) fn of(&self, key: &str, servers: &[String]) -> usize {
        if servers.len() < 2 {
            return 0;
        }
        match self {
            Self::Rendezvous => {
                let score = |name: &String| murmur3(format!("{name}-{key}").as_bytes());
                // Of equals the greater name, as there.
                let best = servers.iter().enumerate().max_by_key(|(_, name)| (score(name), *name));
                best.map_or(0, |(index, _)| index)
            }
            Self::Modulo => one_at_a_time(key.as_bytes()) as usize % servers.len(),
            Self::Own(place) => place(key, servers).min(servers.len() - 1),
        }
    }
}

/// `MurmurHash3` of 32 bits, with the seed 0.
fn murmur3(bytes: &[u8]) -> u32 {
    let scramble = |k: u32| k.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    let (blocks, rest) = bytes.as_chunks::<4>();
    let hash = blocks.iter().fold(0_u32, |hash, block| {
        let hash = (hash ^ scramble(u32::from_le_bytes(*block))).rotate_left(13);
        hash.wrapping_mul(5).wrapping_add(0xe654_6b64)
    });
    let mut tail = [0; 4];
    tail[..rest.len()].copy_from_slice(rest);
    #[expect(clippy::cast_possible_truncation, reason = "the hash is defined so")]
    let mut hash = hash ^ scramble(u32::from_le_bytes(tail)) ^ bytes.len() as u32;
    for (shift, factor) in [(16, 0x85eb_ca6b), (13, 0xc2b2_ae35), (16, 1)] {
        hash = (hash ^ (hash >> shift)).wrapping_mul(factor);
    }
    hash
}

/// Bob Jenkins's one-at-a-time.
fn one_at_a_time(bytes: &[u8]) -> u32 {
    let hash = bytes.iter().fold(0_u32, |hash, &byte| {
        let hash = hash.wrapping_add(byte.into());
        let hash = hash.wrapping_add(hash << 10);
        hash ^ (hash >> 6)
    });
    let hash = hash.wrapping_add(hash << 3);
    let hash = hash ^ (hash >> 11);
    hash.wrapping_add(hash << 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_the_known_ones() {
        assert_eq!(
            [&b""[..], b"a", b"hello", b"hello, world"].map(murmur3),
            [0, 0x3c25_69b2, 0x248b_fa47, 0x149b_bb7f]
        );
        assert_eq!(one_at_a_time(b"a"), 0xca2e_9442);
        assert_eq!(one_at_a_time(b"The quick brown fox jumps over the lazy dog"), 0x519e_91f5);
    }

    #[test]
    fn keys_spread_and_stay_when_another_server_goes() {
        let four: Vec<String> = (0..4).map(|n| format!("10.0.0.{n}:11211")).collect();
        let three = [&four[..1], &four[2..]].concat();
        let mut counts = [0; 4];
        for n in 0..4_000 {
            let key = format!("key-{n}");
            let place = Placement::Rendezvous.of(&key, &four);
            counts[place] += 1;
            if place != 1 {
                assert_eq!(four[place], three[Placement::Rendezvous.of(&key, &three)]);
            }
            assert!(Placement::Modulo.of(&key, &four) < 4);
        }
        assert!(counts.iter().all(|count| (700..1_300).contains(count)), "{counts:?}");
        let wild = Placement::Own(Arc::new(|_, _| 99));
        assert_eq!((wild.of("k", &four), wild.of("k", &four[..1])), (3, 0));
    }
}
