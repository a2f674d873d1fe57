//! Keys of decorated functions: all that the body can see is in them, and no two different
//! calls have one.
#![cfg(feature = "macros")]
#![allow(clippy::needless_pass_by_value, reason = "arguments of every kind are tried")]
#![allow(clippy::trivially_copy_pass_by_ref, reason = "arguments of every kind are tried")]
#![allow(clippy::unused_self, reason = "functions are as short as can be")]
#![allow(clippy::option_option, reason = "arguments of every kind are tried")]
#![allow(clippy::unused_async, reason = "functions are as short as can be")]

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Display;
use std::marker::PhantomData;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use dogpile::backend::SerializedMemory;
use dogpile::key::KeyPart;
use dogpile::{Config, Region, cached, cached_multi};

static REGION: LazyLock<Region> = LazyLock::new(|| {
    let region = Region::new("keys");
    region.configure(Config::new(SerializedMemory::new(10_000))).unwrap();
    region
});

trait Table: Send + Sync {
    const NAME: &'static str;
    type Id;
}

struct Users;
struct Orders;

impl Table for Users {
    const NAME: &'static str = "users";
    type Id = u32;
}

impl Table for Orders {
    const NAME: &'static str = "orders";
    type Id = u64;
}

#[cached(region = REGION)]
fn count<T: Table>(min: u32) -> String {
    format!("{} from {min}", T::NAME)
}

#[cached(region = REGION, skip(table))]
fn with_skipped<T: Table, const N: usize>(table: &PhantomData<T>, min: u32) -> String {
    let _ = table;
    format!("{} {N} {min}", T::NAME)
}

#[cached(region = REGION, key = min)]
fn with_key<T: Table>(table: PhantomData<T>, min: u32) -> String {
    let _ = table;
    format!("{} {min}", T::NAME)
}

#[test]
fn type_and_constant_parameters_are_part_of_the_key() {
    assert_eq!(
        (count::<Users>(1), count::<Orders>(1)),
        ("users from 1".into(), "orders from 1".into())
    );
    assert_eq!(count::get::<Orders>(1).unwrap().as_deref(), Some("orders from 1"));
    count::invalidate::<Users>(1).unwrap();
    assert_eq!(count::get::<Users>(1).unwrap(), None);
    assert!(count::get::<Orders>(1).unwrap().is_some());
    let made = [
        with_skipped::<Users, 1>(&PhantomData, 1),
        with_skipped::<Users, 2>(&PhantomData, 1),
        with_skipped::<Orders, 1>(&PhantomData, 1),
    ];
    assert_eq!(made, ["users 1 1", "users 2 1", "orders 1 1"]);
    assert_eq!(with_skipped::get::<Users, 2>(1).unwrap().as_deref(), Some("users 2 1"));
    assert_eq!(
        (with_key::<Users>(PhantomData, 1), with_key::<Orders>(PhantomData, 1)),
        ("users 1".into(), "orders 1".into())
    );
    assert_ne!(with_key::key::<Users>(1), with_key::key::<Orders>(1));
}

/// Companions do not require of `I` what the skipped `S` says of it; they require the rest.
#[cached(region = REGION, skip(store, S))]
fn by_id<S: Table, I>(store: &S, id: I) -> u64
where
    I: Display + From<S::Id> + Into<u64> + Copy + Send,
{
    let _ = store;
    id.into()
}

/// All that can be seen of a closure is the argument.
#[cached(region = REGION, skip(make))]
async fn called<F, Fut>(make: F, n: u32) -> u32
where
    F: FnOnce(u32) -> Fut + Send,
    Fut: Future<Output = u32> + Send,
{
    make(n).await
}

#[tokio::test]
async fn a_parameter_that_is_skipped_is_not_asked_for() {
    assert_eq!(by_id(&Users, 7_u64), 7);
    assert_eq!(by_id(&Orders, 7_u64), 7);
    assert_eq!(by_id::get(7_u64).unwrap(), Some(7));
    assert_eq!(called(async |n| n + 1, 1).await, 2);
    assert_eq!(called::get(1).await.unwrap(), Some(2));
}

struct Repository<T>(PhantomData<T>);

impl<T: Table> Repository<T> {
    #[cached(region = REGION, skip(self))]
    fn first(&self, min: u32) -> String {
        format!("{} {min}", T::NAME)
    }

    #[cached(region = REGION, skip(self), name = "repository:named")]
    fn named(&self, min: u32) -> String {
        format!("{} {min}", T::NAME)
    }

    #[cached(region = REGION, associated)]
    fn associated(min: u32) -> String {
        format!("{} {min}", T::NAME)
    }
}

trait Counts {
    const START: u32;

    #[cached(region = REGION, associated)]
    fn start(n: u32) -> u32 {
        Self::START + n
    }

    #[cached(region = REGION, associated, name = "named start")]
    fn named_start(n: u32) -> u32 {
        Self::START + n
    }
}

trait CountsToo {
    #[cached(region = REGION, associated)]
    fn start(n: u32) -> u32 {
        100 + n
    }
}

impl Counts for Users {
    const START: u32 = 10;
}

impl Counts for Orders {
    const START: u32 = 20;
}

impl CountsToo for Users {}

struct Shop;

impl Shop {
    #[cached(region = REGION, skip(self), name = "shop:load")]
    fn load(&self, id: u32) -> u32 {
        id
    }

    #[cached(region = REGION, skip(self))]
    fn other(&self, id: u32) -> u32 {
        id
    }
}

#[test]
fn methods_of_generic_types_and_of_traits_have_a_key_for_each_type() {
    let (users, orders) = (Repository::<Users>(PhantomData), Repository::<Orders>(PhantomData));
    assert_eq!((users.first(1), orders.first(1)), ("users 1".into(), "orders 1".into()));
    assert_eq!((users.named(1), orders.named(1)), ("users 1".into(), "orders 1".into()));
    assert_eq!(
        (Repository::<Users>::associated(1), Repository::<Orders>::associated(1)),
        ("users 1".into(), "orders 1".into())
    );
    assert_eq!((Users::named_start(1), Orders::named_start(1)), (11, 21));
    assert_eq!((<Users as Counts>::start(1), <Orders as Counts>::start(1)), (11, 21));
    assert_eq!(<Users as CountsToo>::start(1), 101, "another trait's function of the same name");
    assert_eq!(Shop.load(1) + Shop.other(1), 2);
    assert_eq!(Shop.load_key(1), "shop:load|1");
    assert_eq!(Shop.other_key(1), "cached_keys::Shop:other|1");
    assert_eq!(Shop.load_entry(1).get::<u32>().unwrap(), Some(1));
}

mod shop {
    pub(crate) fn one() -> (String, String) {
        #[dogpile::cached(region = super::REGION)]
        fn load(id: u32) -> String {
            format!("one {id}")
        }

        #[dogpile::cached(region = super::REGION)]
        fn inner(id: u32) -> String {
            format!("inner one {id}")
        }

        (load(1), inner(1))
    }

    pub(crate) async fn two() -> (String, String) {
        #[dogpile::cached(region = super::REGION)]
        fn load(id: u32) -> String {
            format!("two {id}")
        }

        #[dogpile::cached(region = super::REGION)]
        fn inner(id: u32) -> String {
            format!("inner two {id}")
        }

        (load(1), inner(1))
    }

    pub(crate) fn blocks() -> [String; 2] {
        let first = {
            #[dogpile::cached(region = super::REGION)]
            fn load(id: u32) -> String {
                format!("first block {id}")
            }
            load(1)
        };
        let second = {
            #[dogpile::cached(region = super::REGION)]
            fn load(id: u32) -> String {
                format!("second block {id}")
            }
            load(1)
        };
        [first, second]
    }

    macro_rules! loaders {
        ($($text:literal)*) => {
            [$({
                #[dogpile::cached(region = super::REGION)]
                fn load(id: u32) -> String {
                    format!("{} {id}", $text)
                }
                load(1)
            }),*]
        };
    }

    pub(crate) fn blocks_of_a_macro() -> [String; 2] {
        loaders!("first" "second")
    }

    pub(crate) fn methods_in_blocks() -> [String; 2] {
        struct Shop;

        let first = {
            impl Shop {
                #[dogpile::cached(region = super::REGION, skip(self))]
                fn load(&self, id: u32) -> String {
                    format!("first {id}")
                }
            }
            Shop.load(1)
        };
        let second = {
            struct Shop;

            impl Shop {
                #[dogpile::cached(region = super::REGION, skip(self))]
                fn load(&self, id: u32) -> String {
                    format!("second {id}")
                }
            }
            Shop.load(1)
        };
        [first, second]
    }

    #[dogpile::cached(region = super::REGION)]
    pub(crate) fn load(id: u32) -> String {
        format!("module {id}")
    }

    #[dogpile::cached_multi(region = super::REGION)]
    pub(crate) fn many(ids: &[u32]) -> Vec<u32> {
        ids.to_vec()
    }
}

#[tokio::test]
async fn functions_of_one_name_in_different_functions_and_blocks_differ() {
    assert_eq!(shop::load(1), "module 1");
    assert_eq!(shop::one(), ("one 1".into(), "inner one 1".into()));
    assert_eq!(shop::two().await, ("two 1".into(), "inner two 1".into()));
    assert_eq!(shop::blocks(), ["first block 1", "second block 1"]);
    assert_eq!(shop::blocks_of_a_macro(), ["first 1", "second 1"]);
    assert_eq!(shop::methods_in_blocks(), ["first 1", "second 1"]);
    assert_eq!(shop::load::key(1), "cached_keys::shop:load|1", "as Python has it");
    assert_eq!(shop::many::key(&1), "cached_keys::shop:many|1");
}

/// A type of another crate with `Display`, which is not `KeyPart`.
type Foreign = Ipv4Addr;
type Alias = Option<Ipv4Addr>;

#[cached(region = REGION)]
fn of_foreign(
    maybe: Option<Ipv4Addr>,
    list: Vec<Ipv4Addr>,
    slice: &[Option<Foreign>],
    map: &HashMap<Ipv4Addr, Vec<(u8, Ipv4Addr)>>,
    set: Arc<BTreeSet<Ipv4Addr>>,
    alias: Alias,
    nested: Option<Option<&Ipv4Addr>>,
) -> usize {
    let _ = (maybe, alias, nested);
    list.len() + slice.len() + map.len() + set.len()
}

#[cached(region = REGION)]
fn of_std(
    path: &Path,
    buffer: PathBuf,
    duration: Option<Duration>,
    at: SystemTime,
    words: HashSet<String>,
    counts: BTreeMap<String, u32>,
    unit: (),
) -> usize {
    let _ = (path, buffer, duration, at, words, counts, unit);
    1
}

#[cached_multi(region = REGION)]
fn by_address(addresses: &[Option<Ipv4Addr>]) -> Vec<usize> {
    addresses.iter().map(|_| 1).collect()
}

#[test]
fn options_sequences_and_maps_of_foreign_types_are_parts() {
    let (one, two) = (Ipv4Addr::LOCALHOST, Ipv4Addr::BROADCAST);
    let key = of_foreign::key(
        Some(one),
        vec![one, two],
        &[None, Some(two)],
        &HashMap::from([(one, vec![(1, two)])]),
        Arc::new(BTreeSet::from([one])),
        None,
        Some(None),
    );
    let expected = r"cached_keys:of_foreign|127.0.0.1 \[127.0.0.1\,255.255.255.255\,\] \[\N\,255.255.255.255\,\] \[\[127.0.0.1\,\[\[1\,255.255.255.255\,\]\,\]\,\]\,\] \[127.0.0.1\,\] \N \S\N";
    assert_eq!(key, expected);
    let key = of_std::key(
        Path::new("/a b"),
        PathBuf::from("c|d"),
        Some(Duration::from_millis(1_500)),
        SystemTime::UNIX_EPOCH,
        HashSet::from(["y".to_owned(), "x".to_owned()]),
        BTreeMap::from([("n".to_owned(), 1)]),
        (),
    );
    assert_eq!(
        key,
        r"cached_keys:of_std|/a\sb c\pd 1.500000000 0 \[x\,y\,\] \[\[n\,1\,\]\,\] \[\]"
    );
    assert_eq!(by_address::key(&Some(one)), "cached_keys:by_address|127.0.0.1");
    assert_eq!(by_address::key(&None), r"cached_keys:by_address|\N");
}

/// What is taken apart by its written type has the key that `KeyPart` writes.
#[test]
fn a_type_behind_an_alias_has_the_same_key() {
    type Pair = (Option<u8>, Vec<String>);
    type Deep = Option<Option<u8>>;

    #[cached(region = REGION, name = "same")]
    fn plain(pair: (Option<u8>, Vec<String>), deep: Option<Option<u8>>) -> u8 {
        let _ = (pair, deep);
        1
    }

    #[cached(region = REGION, name = "same")]
    fn alias(pair: Pair, deep: Deep) -> u8 {
        let _ = (pair, deep);
        1
    }

    for deep in [None, Some(None), Some(Some(1))] {
        for pair in [(None, vec![]), (Some(1), vec!["a b".to_owned(), String::new()])] {
            assert_eq!(plain::key(pair.clone(), deep), alias::key(pair, deep));
        }
    }
}

#[derive(KeyPart)]
struct UserId(u64);

#[derive(KeyPart)]
struct Maybe(Option<u8>);

#[derive(KeyPart)]
struct Page<'a, T> {
    number: u32,
    of: &'a [T],
    address: Option<Ipv4Addr>,
    #[key_part(skip)]
    #[expect(dead_code, reason = "it is not in the key")]
    trace: NotAPart,
}

struct NotAPart;

#[derive(KeyPart)]
enum Order {
    Newest,
    By(String, bool),
    Field { name: &'static str, descending: bool },
}

#[cached(region = REGION)]
fn derived(id: UserId, page: &Page<'_, u8>, orders: Vec<Order>, maybe: Option<Maybe>) -> u64 {
    let _ = (
        page.number,
        page.of,
        page.address,
        &page.trace,
        orders,
        maybe.is_some_and(|m| m.0.is_some()),
    );
    id.0
}

#[test]
fn structs_and_enums_are_parts_by_derive() {
    let page = Page { number: 2, of: &[1, 2], address: None, trace: NotAPart };
    let orders = vec![
        Order::Newest,
        Order::By("a b".into(), true),
        Order::Field { name: "n", descending: false },
    ];
    let key = derived::key(UserId(7), &page, orders, Some(Maybe(None)));
    assert_eq!(
        key,
        r"cached_keys:derived|7 \[2\,\[1\,2\,\]\,\N\,\] \[Newest\,\[By\,a\sb\,true\,\]\,\[Field\,n\,false\,\]\,\] \S\N"
    );
    assert!(derived::key(UserId(7), &page, vec![], None).ends_with(r"\[\] \N"));
}

#[cached(region = REGION, namespace = tenant())]
fn in_namespace(text: &str) -> String {
    format!("{}/{text}", tenant())
}

thread_local! {
    static TENANT: std::cell::Cell<&'static str> = const { std::cell::Cell::new("a") };
}

fn tenant() -> &'static str {
    TENANT.get()
}

#[test]
fn namespaces_and_prefixes_do_not_run_into_what_follows() {
    assert_eq!(in_namespace("b|c"), "a/b|c");
    TENANT.set("a|b");
    assert_eq!(in_namespace("c"), "a|b/c");
    let keys = [
        REGION.keyspace::<&str, u8>("a").key(&"b:c"),
        REGION.keyspace::<&str, u8>("a:b").key(&"c"),
        REGION.keyspace::<&str, u8>(r"a\:b").key(&"c"),
        REGION.keyspace::<&str, u8>(r"a\").key(&"b:c"),
    ];
    let different: HashSet<&String> = keys.iter().collect();
    assert_eq!(different.len(), keys.len(), "{keys:?}");
    assert_eq!(REGION.keyspace::<u32, u8>("user").key(&42), "user:42");
}

#[tokio::test]
async fn a_view_of_a_prefix_with_a_colon_finds_its_hits() {
    let view = REGION.keyspace::<u32, String>("shop:user");
    view.set(&1, &"Ada".to_owned()).await.unwrap();
    assert_eq!(view.get(&1).await.unwrap().as_deref(), Some("Ada"));
    assert_eq!(REGION.get::<String>(&view.key(&1)).await.unwrap().as_deref(), Some("Ada"));
}

struct Pool;

#[cached(region = REGION, key = (id), skip(trace))]
fn from_pool(pool: &Pool, id: u32, trace: &Pool) -> u32 {
    let _ = (pool, trace);
    id
}

#[cached(region = REGION, key = (format!("{id}-{lang}"), user.id))]
fn in_text(user: &Record, id: u32, lang: &str, pool: &Pool) -> u32 {
    let _ = (lang, pool);
    user.id + id
}

struct Record {
    id: u32,
}

#[cached(region = REGION, to_str = |number| format!("{number:x}"))]
fn in_hex(one: u32, two: u64) -> u64 {
    u64::from(one) + two
}

#[cached_multi(region = REGION, to_str = |id| format!("#{id}"))]
fn numbered(ids: &[u32]) -> Vec<u32> {
    ids.to_vec()
}

#[test]
fn companions_ask_for_what_the_key_needs() {
    assert_eq!((from_pool(&Pool, 1, &Pool), from_pool::get(1).unwrap()), (1, Some(1)));
    let user = Record { id: 2 };
    assert_eq!(in_text(&user, 3, "en", &Pool), 5);
    assert_eq!(in_text::get(&user, 3, "en").unwrap(), Some(5));
    assert_eq!((in_hex(255, 16), in_hex::key(255, 16)), (271, "cached_keys:in_hex|ff 10".into()));
    assert_eq!((numbered(&[1]), numbered::key(&1)), (vec![1], "cached_keys:numbered|#1".into()));
}

#[test]
fn hits_need_nothing_on_the_heap_for_their_key() {
    let warm = || {
        let _ = (count::key::<Users>(1), shop::load(1));
    };
    warm();
    let of_key =
        |work: fn() -> usize| allocation_counter::measure(|| assert!(work() > 0)).count_total;
    // The text of the key itself is one.
    assert_eq!(of_key(|| shop::load::key(1).len()), 1);
    assert_eq!(of_key(|| in_hex_list::key(&[1, 2], Some(3)).len()), 1);
    assert_eq!(of_key(|| Shop.other_key(1).len()), 1);
}

#[cached(region = REGION)]
fn in_hex_list(list: &[u32], maybe: Option<u8>) -> u32 {
    list.iter().sum::<u32>() + u32::from(maybe.unwrap_or(0))
}
