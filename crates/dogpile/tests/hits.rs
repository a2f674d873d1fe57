//! Hits in memory: objects are looked at where they lie, and judged as anywhere else.

use std::sync::Arc;
use std::time::Duration;

use dogpile::backend::{Backend, Memory};
use dogpile::value::Entry;
use dogpile::{Config, Error, Expiration, InMemory, Region};

fn region(config: Config<InMemory>) -> Region<InMemory> {
    let region = Region::in_memory("hits");
    region.configure(config).unwrap();
    region
}

/// Keys of all lengths around those that lie in the map itself, each the beginning of the next.
#[test]
fn keys_of_any_length_are_told_apart() {
    let region = region(Config::new(Memory::new(10_000)));
    let text: String = "ключ-key".chars().cycle().take(300).collect();
    let ends = || (0..=text.len()).filter(|end| text.is_char_boundary(*end));
    for end in ends() {
        region.blocking().set(&text[..end], &end).unwrap();
    }
    for end in ends() {
        assert_eq!(region.blocking().get(&text[..end]).unwrap(), Some(end));
    }
    region.blocking().delete(&text[..24]).unwrap();
    assert_eq!(region.blocking().get::<usize>(&text[..24]).unwrap(), None);
    assert_eq!(region.blocking().get(&text[..23]).unwrap_or(None), Some(23_usize));
}

#[test]
fn a_weigher_is_given_the_key_as_it_was() {
    let long = "ключ".repeat(20);
    let expected = [("short", 5), (long.as_str(), 160)];
    let memory = Memory::weighted(10_000, |key, _| {
        assert!(key == "short" || key == "ключ".repeat(20), "{key}");
        key.len() as u64
    });
    for (key, _) in expected {
        pollster::block_on(memory.set(key, Entry::object(1, 1.0))).unwrap();
    }
    assert_eq!(memory.len(), 2);
}

#[test]
fn an_object_of_another_type_is_no_hit() {
    let region = region(Config::new(Memory::new(10)));
    region.blocking().set("k", &Arc::new(7_u64)).unwrap();
    let found = region.blocking().get::<u64>("k");
    assert!(matches!(found, Err(Error::WrongType { .. })), "{found:?}");
    assert_eq!(region.statistics().hits, 0);
    assert_eq!(region.blocking().get_or_create("k", || 8_u64), 8);
    assert_eq!((region.statistics().hits, region.statistics().misses), (0, 2));
}

/// A value of three words, whose clones are made of what the region has.
#[derive(Debug)]
struct Asking(Arc<Region<InMemory>>, u64, u64);

impl Clone for Asking {
    fn clone(&self) -> Self {
        self.0.blocking().set("asked", &self.1).unwrap();
        Self(self.0.clone(), self.1, self.2)
    }
}

/// All keys of this backend are in one part of its map: a lock that is held is that one.
#[test]
fn a_clone_of_a_large_value_may_use_the_region() {
    let region = Arc::new(region(Config::new(Memory::new(10))));
    region.blocking().set("k", &Asking(region.clone(), 7, 8)).unwrap();
    region.blocking().delete("asked").unwrap();
    let hit = region.blocking().get::<Asking>("k").unwrap().expect("it was set");
    assert_eq!((hit.1, hit.2), (7, 8));
    assert_eq!(region.blocking().get("asked").unwrap(), Some(7_u64));
    region.blocking().delete("k").unwrap();
}

#[test]
fn an_expiration_that_is_computed_may_use_the_region() {
    let region = Arc::new(region(Config::new(Memory::new(10))));
    let asked = Arc::downgrade(&region);
    let expiration = Expiration::computed(move || {
        let region = asked.upgrade()?;
        let limit = region.blocking().entry("limit").expiration(Expiration::Never).get::<u64>();
        region.blocking().set("asked", &true).ok()?;
        limit.ok()?.map(Duration::from_secs)
    });
    region.blocking().set("limit", &3_600_u64).unwrap();
    region.blocking().set("k", &7_u64).unwrap();
    let hit = || region.blocking().entry("k").expiration(expiration.clone()).get::<u64>().unwrap();
    assert_eq!(hit(), Some(7));
    assert_eq!(region.blocking().get("asked").unwrap(), Some(true));
}
