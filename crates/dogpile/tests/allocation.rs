//! The allocations of a hit in memory, none, and those of a miss.

use std::fmt::{self, Display, Write};
use std::sync::Arc;

use dogpile::backend::{Backend, MapBackend, Memory, SerializedMemory};
use dogpile::region::Begun;
use dogpile::value::Entry;
use dogpile::{Config, InMemory, Near, Region};
use futures_util::FutureExt;

struct Large([u8; 4096]);

/// Returns the length of a text, which is not kept.
fn format_length(text: impl Display) -> usize {
    struct Length(usize);

    impl Write for Length {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0 += text.len();
            Ok(())
        }
    }

    let mut length = Length(0);
    write!(length, "{text}").unwrap();
    length.0
}

fn allocations(work: impl FnOnce()) -> u64 {
    allocation_counter::measure(work).count_total
}

#[test]
fn a_hit_of_an_arc_allocates_nothing() {
    let regions: [Region<InMemory>; 2] = [Region::in_memory("bounded"), Region::in_memory("map")];
    regions[0].configure(Config::new(Memory::new(100))).unwrap();
    regions[1].configure(Config::new(MapBackend::unbounded())).unwrap();
    for region in regions {
        let make = || Arc::new(Large([7; 4096]));
        region.blocking().get_or_create("key", make);
        let hits = allocations(|| {
            for _ in 0..100 {
                let found = region.get::<Arc<Large>>("key").now_or_never();
                assert_eq!(found.unwrap().unwrap().unwrap().0[1], 7);
                let hit = region.get_or_create("key", async || make()).now_or_never();
                assert_eq!(hit.unwrap().0[2], 7);
                let tried = region.try_get_or_create("key", async || Ok::<_, ()>(make()));
                assert!(tried.now_or_never().unwrap().is_ok());
            }
            for _ in 0..100 {
                assert_eq!(region.blocking().get_or_create("key", make).0[3], 7);
                assert!(region.blocking().get::<Arc<Large>>("key").unwrap().is_some());
            }
        });
        assert_eq!(hits, 0, "in 500 hits");
    }
}

/// One for each call that a trait object takes, and for what is kept: not several for each list of one key.
#[test]
fn a_miss_for_one_key_needs_few_lists() {
    let region = Region::in_memory("misses");
    region.configure(Config::new(Memory::new(100))).unwrap();
    let create =
        |key: &str| allocations(|| assert_eq!(region.blocking().get_or_create(key, || 7), 7));
    let begin = |key: &str| {
        allocations(|| match region.entry(key).begin::<i32>().now_or_never().unwrap() {
            Begun::Create(creation) => assert_eq!(creation.finish(7).now_or_never(), Some(7)),
            Begun::Value(_) => panic!("nothing is there"),
        })
    };
    create("first");
    begin("second");
    let (created, begun) = (create("third"), begin("fourth"));
    assert!(created <= 50, "{created} for a call");
    assert!(begun <= 28, "{begun} for a call in two halves");
}

#[test]
fn a_value_that_is_a_pointer_needs_no_other() {
    fn to_set(region: &Region<InMemory>, value: &(impl Clone + Send + Sync + 'static)) -> u64 {
        region.blocking().set("key", value).unwrap();
        allocations(|| region.blocking().set("key", value).unwrap())
    }

    let region = Region::in_memory("pointers");
    region.configure(Config::new(Memory::new(100))).unwrap();
    let large = to_set(&region, &[7_u64; 2]);
    assert_eq!(to_set(&region, &7_u64) + 1, large);
    assert_eq!(to_set(&region, &Arc::new(Large([7; 4096]))) + 1, large);
}

/// Numbers are written in another way for a look than for the store. Were it another key, the hit would
/// be found on the way that allocates.
#[test]
fn a_hit_of_a_keyspace_of_numbers_allocates_nothing() {
    fn in_hits<Q: Display + Copy>(region: &Region<InMemory>, numbers: &[Q]) -> u64 {
        let names = region.keyspace::<Q, Arc<str>>("name");
        numbers.iter().for_each(|number| {
            region
                .blocking()
                .set(&names.key(number), &Arc::<str>::from(number.to_string()))
                .unwrap();
        });
        allocations(|| {
            for number in numbers {
                assert!(names.get(number).now_or_never().unwrap().unwrap().is_some());
                let hit = names.get_or_create(number, async || unreachable!()).now_or_never();
                assert_eq!(hit.unwrap().len(), format_length(number));
            }
        })
    }

    let region = Region::in_memory("numbers");
    region.configure(Config::new(Memory::new(100))).unwrap();
    assert_eq!(in_hits(&region, &[0, 9, 10, 12_345_678, 123_456_789, u64::MAX]), 0);
    assert_eq!(in_hits(&region, &[i64::MIN, -1, 0, i64::MAX]), 0);
    assert_eq!(in_hits(&region, &[u128::MAX, 1 << 64, 7]), 0);
    assert_eq!(in_hits(&region, &[u8::MAX, 0]), 0);
    assert_eq!(in_hits(&region, &[1.0, -0.5]), 0);
    assert_eq!(in_hits(&region, &["7", "seven"]), 0);
}

/// Over a region that keeps bytes, a hit of the near tier neither decodes nor allocates.
#[test]
fn a_near_hit_of_an_arc_allocates_nothing() {
    let region: Region = Region::new("near");
    let near = Near::entries(100).max_staleness(std::time::Duration::from_secs(3_600));
    region.configure(Config::new(SerializedMemory::new(100)).near(near)).unwrap();
    let text: Arc<str> = "seven".into();
    region.blocking().set("key", &text).unwrap();
    for _ in 0..3 {
        assert!(region.blocking().get::<Arc<str>>("key").unwrap().is_some());
    }
    let hits = allocations(|| {
        for _ in 0..100 {
            let found = region.get::<Arc<str>>("key").now_or_never();
            assert_eq!(found.unwrap().unwrap().as_deref(), Some("seven"));
            let hit = region.get_or_create("key", async || text.clone()).now_or_never();
            assert_eq!(&*hit.unwrap(), "seven");
        }
    });
    assert_eq!(hits, 0, "in 200 hits");
    assert!(region.statistics().near_hits >= 200);
}

/// A map that grows by doubling has twice as many places as it needs for some bounds. Ours are
/// chosen so that a full memory has few to spare, whatever its bound.
#[test]
fn a_full_memory_has_few_places_to_spare() {
    for bound in [20_480, 25_600, 30_000, 35_000] {
        let (object, memory) = (Arc::new(0_u64), Memory::new(bound));
        let filled = |keys: std::ops::Range<usize>| {
            let filling = allocation_counter::measure(|| {
                for n in keys {
                    let entry = Entry::object(object.clone(), 1.0);
                    memory.set(&n.to_string(), entry).now_or_never().unwrap().unwrap();
                }
            });
            filling.bytes_current / i64::try_from(memory.len()).unwrap()
        };
        let each = filled(0..bound);
        assert!((90..125).contains(&each), "{each} bytes for each of {bound}");
        let more = filled(bound..3 * bound);
        assert!(more < 120, "{more} more bytes for each of {bound} when it evicts");
    }
}
