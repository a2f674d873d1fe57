//! Decorated functions.
#![cfg(feature = "macros")]
#![allow(clippy::unused_async, reason = "functions are as short as can be")]
#![allow(clippy::needless_pass_by_value, reason = "arguments of every kind are tried")]
#![allow(clippy::trivially_copy_pass_by_ref, reason = "the options take references")]

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use dogpile::backend::{Memory, SerializedMemory};
use dogpile::{Config, Expiration, InMemory, Region, cached};
use dogpile_testkit::ManualClock;

/// A region that is configured, and counts how often functions run.
macro_rules! region {
    ($name:ident) => {
        static $name: std::sync::LazyLock<Region> = std::sync::LazyLock::new(|| {
            let region = Region::new(stringify!($name));
            region.configure(Config::new(SerializedMemory::new(1_000))).unwrap();
            region
        });
    };
}

region!(PLAIN);
static RUNS: AtomicU32 = AtomicU32::new(0);

/// Doubles a number, slowly.
#[cached(region = PLAIN)]
async fn double(number: u32) -> u32 {
    RUNS.fetch_add(1, Ordering::SeqCst);
    number * 2
}

#[tokio::test]
async fn a_function_runs_once_and_has_companions() {
    assert_eq!((double(4).await, double(4).await, double(5).await), (8, 8, 10));
    assert_eq!(RUNS.load(Ordering::SeqCst), 2);
    assert_eq!(double::key(4), "cached:double|4");
    assert_eq!(PLAIN.get::<u32>(&double::key(4)).await.unwrap(), Some(8));
    assert_eq!((double::get(4).await.unwrap(), double::get(6).await.unwrap()), (Some(8), None));
    double::set(&7, 4).await.unwrap();
    assert_eq!(double(4).await, 7);
    assert_eq!(double::original(4).await, 8);
    assert_eq!(double(4).await, 7, "the original leaves the cache alone");
    assert_eq!(double::refresh(4).await, 8);
    assert_eq!(double(4).await, 8);
    double::invalidate(4).await.unwrap();
    assert_eq!(double::get(4).await.unwrap(), None);
    assert_eq!(PLAIN.statistics().creations, 3);
}

mod other {
    use super::*;

    region!(OTHERS);

    pub(crate) mod deep {
        #[dogpile::cached(region = super::OTHERS, namespace = "v2")]
        pub(crate) fn blocking(text: &str, maybe: Option<i64>) -> Option<String> {
            maybe.map(|number| format!("{text}{number}"))
        }
    }
}

#[test]
fn a_plain_function_is_cached_by_blocking_calls() {
    use other::deep::blocking;

    assert_eq!(blocking("a b", Some(1)).as_deref(), Some("a b1"));
    assert_eq!(blocking::get("a b", Some(1)).unwrap(), Some(Some("a b1".to_owned())));
    assert_eq!(blocking::key("a b", Some(1)), r"cached::other::deep:blocking|v2|a\sb 1");
    assert_eq!(blocking("x", None), None);
    assert_eq!(blocking::get("x", None).unwrap(), Some(None), "an absent value is a value");
    blocking::invalidate("x", None).unwrap();
    assert_eq!(blocking::get("x", None).unwrap(), None);
    assert_eq!(blocking::refresh("x", Some(2)).as_deref(), Some("x2"));
}

region!(FALLIBLE);
static ATTEMPTS: AtomicU32 = AtomicU32::new(0);

type Hidden<T> = std::result::Result<T, String>;

#[cached(region = FALLIBLE)]
async fn sometimes(good: bool) -> io::Result<u32> {
    ATTEMPTS.fetch_add(1, Ordering::SeqCst);
    if good { Ok(1) } else { Err(io::Error::other("bad")) }
}

#[cached(region = FALLIBLE, fallible)]
fn hidden(good: bool) -> Hidden<u32> {
    good.then_some(1).ok_or_else(|| "bad".to_owned())
}

#[tokio::test]
async fn only_what_is_ok_is_cached_whatever_the_result_is_called() {
    for _ in 0..2 {
        assert_eq!(sometimes(false).await.unwrap_err().to_string(), "bad");
        assert_eq!(sometimes(true).await.unwrap(), 1);
    }
    assert_eq!(ATTEMPTS.load(Ordering::SeqCst), 3);
    assert_eq!(sometimes::get(true).await.unwrap(), Some(1));
    assert_eq!(sometimes::get(false).await.unwrap(), None);
    sometimes::set(&5, false).await.unwrap();
    assert_eq!(sometimes(false).await.unwrap(), 5);
    assert!(sometimes::refresh(false).await.is_err());
    assert_eq!(sometimes(false).await.unwrap(), 5, "a failed refresh changes nothing");
    assert_eq!(hidden(false).unwrap_err(), "bad");
    assert_eq!((hidden(true), hidden::get(true).unwrap()), (Ok(1), Some(1)));
}

region!(VETOED);

#[cached(region = VETOED, cache_none = false)]
async fn found(name: &'static str) -> Option<String> {
    (name == "ada").then(|| name.to_owned())
}

#[cached(region = VETOED, cache_none = false, should_cache = |found| found.as_ref().is_some_and(|n| *n > 1))]
async fn both(number: u32) -> Result<Option<u32>, String> {
    Ok((number > 0).then_some(number))
}

fn is_even(number: &u32) -> bool {
    number.is_multiple_of(2)
}

#[cached(region = VETOED, should_cache = is_even)]
async fn even(number: u32) -> u32 {
    number
}

#[tokio::test]
async fn values_can_be_kept_out() {
    assert_eq!((found("ada").await.as_deref(), found("bob").await), (Some("ada"), None));
    assert!(found::get("ada").await.unwrap().is_some());
    assert_eq!(found::get("bob").await.unwrap(), None);
    for number in 0..4 {
        assert_eq!(both(number).await.unwrap(), (number > 0).then_some(number));
        assert_eq!(both::get(number).await.unwrap().is_some(), number > 1, "{number}");
        assert_eq!(even::refresh(number).await, number);
        assert_eq!(even::get(number).await.unwrap().is_some(), number % 2 == 0, "{number}");
    }
}

static CLOCKED: Region = Region::new("clocked");
const MINUTE: Duration = Duration::from_secs(60);
static LIFETIME: AtomicU32 = AtomicU32::new(0);

#[cached(region = CLOCKED, expiration = "1m")]
async fn literal() -> u32 {
    1
}

#[cached(region = CLOCKED, expiration = 60)]
async fn seconds() -> u32 {
    1
}

#[cached(region = CLOCKED, expiration = MINUTE, stale_while_revalidate = MINUTE * 2, wait_timeout = "1s")]
async fn constant() -> u32 {
    1
}

fn lifetime() -> Expiration {
    Duration::from_secs(LIFETIME.load(Ordering::SeqCst).into()).into()
}

#[cached(region = CLOCKED, expiration = lifetime())]
async fn computed() -> u32 {
    1
}

#[tokio::test]
async fn lifetimes_are_literal_constant_or_computed() {
    let clock = ManualClock::new();
    let config = Config::new(Memory::new(100)).clock(clock.clone());
    CLOCKED.configure(config).unwrap();
    let all = async || {
        let found = [literal::get().await, seconds::get().await, constant::get().await];
        found.map(|found| found.unwrap().is_some())
    };
    let _ = (literal().await, seconds().await, constant().await, computed().await);
    clock.advance(Duration::from_secs(59));
    assert_eq!(all().await, [true; 3]);
    clock.advance(Duration::from_secs(2));
    assert_eq!(all().await, [false; 3]);
    assert_eq!(computed::get().await.unwrap(), None);
    LIFETIME.store(1_000, Ordering::SeqCst);
    assert_eq!(computed::get().await.unwrap(), Some(1), "asked anew each time");
}

region!(KEYS);

/// A type with `Display` only.
struct Tenant(&'static str);

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

struct User {
    id: u64,
    #[expect(dead_code, reason = "it is not in the key")]
    name: String,
}

#[cached(region = KEYS)]
fn many(tenant: &Tenant, ids: &[u64], pair: (u8, char), list: Vec<Option<bool>>) -> u32 {
    let _ = (tenant, ids, pair, list);
    1
}

#[cached(region = KEYS, key = (user.id, tenant))]
fn chosen(user: &User, tenant: Tenant) -> u64 {
    let _ = tenant;
    user.id
}

#[cached(region = KEYS, skip(connection, trace))]
fn skipped(connection: &mut HashMap<u64, u64>, id: u64, trace: impl_free::Trace) -> Option<u64> {
    let _ = trace;
    connection.get(&id).copied()
}

mod impl_free {
    pub(crate) struct Trace;
}

#[cached(region = KEYS, name = "users:load", key_generator = dogpile::key::python)]
fn shared_with_python(name: &str, active: bool, limit: Option<u32>) -> u32 {
    let _ = (name, active, limit);
    1
}

#[cached(region = KEYS, key_generator = dogpile::key::python_by_name)]
fn by_name(zebra: u8, ant: u8) -> u8 {
    zebra + ant
}

fn hex(number: &u32) -> String {
    format!("{number:x}")
}

#[cached(region = KEYS, to_str = hex)]
fn in_hex(one: u32, two: u32) -> u32 {
    one + two
}

#[cached(region = KEYS)]
fn patterns((a, b): (u32, u32), [c, ..]: [u32; 3], mut d: u32, _: u32) -> u32 {
    d += a + b + c;
    d
}

#[test]
fn keys_say_what_the_arguments_are() {
    let tenant = Tenant("a b");
    assert_eq!(many(&tenant, &[1, 2], (3, 'x'), vec![None, Some(true)]), 1);
    let key = many::key(&tenant, &[1, 2], (3, 'x'), vec![None, Some(true)]);
    assert_eq!(key, r"cached:many|a\sb \[1\,2\,\] \[3\,x\,\] \[\N\,true\,\]");
    let user = User { id: 7, name: "Ada".into() };
    assert_eq!(chosen(&user, Tenant("t")), 7);
    assert_eq!(chosen::key(&user, Tenant("t")), "cached:chosen|7 t");
    let mut table = HashMap::from([(1, 10)]);
    assert_eq!(skipped(&mut table, 1, impl_free::Trace), Some(10));
    table.clear();
    assert_eq!(skipped(&mut table, 1, impl_free::Trace), Some(10));
    assert_eq!(skipped::key(1), "cached:skipped|1");
    skipped::invalidate(1).unwrap();
    assert_eq!(skipped(&mut table, 1, impl_free::Trace), None);
    assert_eq!(shared_with_python::key("a b", true, None), "users:load|a b True None");
    assert_eq!(by_name::key(1, 2), "cached:by_name|2 1");
    assert_eq!(in_hex::key(255, 16), "cached:in_hex|ff 10");
    assert_eq!(patterns((1, 2), [3, 4, 5], 6, 7), 12);
    assert_eq!(
        patterns::key((1, 2), [3, 4, 5], 6, 7),
        r"cached:patterns|\[1\,2\,\] \[3\,4\,5\,\] 6 7"
    );
}

region!(GENERIC);

#[cached(region = GENERIC)]
async fn parsed<T>(text: &str) -> Result<T, String>
where
    T: std::str::FromStr
        + Clone
        + Send
        + Sync
        + serde::Serialize
        + serde::de::DeserializeOwned
        + 'static,
{
    text.parse().map_err(|_| "no".to_owned())
}

#[cached(region = GENERIC, skip(source))]
async fn through<S, const N: usize>(source: &S, n: u32) -> [u32; 2]
where
    S: Fn(u32) -> u32 + Send + Sync,
{
    [source(n), u32::try_from(N).unwrap()]
}

#[tokio::test]
async fn generic_functions_have_a_key_for_each_type() {
    assert_eq!(parsed::<u32>("7").await, Ok(7));
    assert_eq!(parsed::<String>("7").await, Ok("7".to_owned()));
    assert_eq!(parsed::<f64>("7").await, Ok(7.0));
    assert_eq!(parsed::get::<u32>("7").await.unwrap(), Some(7));
    assert_ne!(parsed::key::<u32>("7"), parsed::key::<String>("7"));
    assert_eq!(through::<_, 3>(&|n| n + 1, 4).await, [5, 3]);
    assert_eq!(through::get::<3>(4).await.unwrap(), Some([5, 3]));
    assert_eq!(through::get::<4>(4).await.unwrap(), None);
}

struct Repository {
    tenant: String,
    region: Region,
    runs: AtomicU32,
}

impl Repository {
    fn new(tenant: &str) -> Self {
        let region = Region::named(tenant);
        region.configure(Config::new(SerializedMemory::new(100))).unwrap();
        Self { tenant: tenant.to_owned(), region, runs: AtomicU32::new(0) }
    }

    /// A method's own documentation.
    #[cached(region = self.region, key = (self.tenant, id))]
    async fn load(&self, id: u32) -> Result<String, io::Error> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        Ok(format!("{} of {}", id, self.tenant))
    }

    #[cached(region = KEYS, skip(self), expiration = "1h")]
    fn shared(&self, id: u32) -> u32 {
        self.runs.fetch_add(1, Ordering::SeqCst);
        id
    }

    #[cached(region = KEYS, associated)]
    fn version() -> u32 {
        3
    }
}

#[tokio::test]
async fn methods_say_what_of_self_counts() {
    let (one, two) = (Repository::new("one"), Repository::new("two"));
    for _ in 0..2 {
        assert_eq!(one.load(1).await.unwrap(), "1 of one");
        assert_eq!(two.load(1).await.unwrap(), "1 of two");
    }
    assert_eq!(one.runs.load(Ordering::SeqCst), 1);
    assert_eq!(one.load_entry(1).get::<String>().await.unwrap().as_deref(), Some("1 of one"));
    one.load_entry(1).delete().await.unwrap();
    assert_eq!(one.load_entry(1).get::<String>().await.unwrap(), None);
    assert_eq!(one.load_refresh(1).await.unwrap(), "1 of one");
    assert_eq!(one.load_original(2).await.unwrap(), "2 of one");
    assert_eq!(one.load_entry(2).get::<String>().await.unwrap(), None);
    assert_eq!(one.runs.load(Ordering::SeqCst), 3);
}

#[test]
fn methods_may_share_their_entries() {
    let (one, two) = (Repository::new("1"), Repository::new("2"));
    assert_eq!((one.shared(9), two.shared(9)), (9, 9));
    assert_eq!(two.runs.load(Ordering::SeqCst), 0);
    assert_eq!((Repository::version(), Repository::version_original()), (3, 3));
    assert_eq!(Repository::version_entry().get::<u32>().unwrap(), Some(3));
}

/// Neither serde nor Clone.
struct Connection;

static LOCAL: Region<InMemory> = Region::in_memory("local");

#[cached(region = LOCAL)]
async fn connection(name: &str) -> Arc<Connection> {
    let _ = name;
    Arc::new(Connection)
}

#[tokio::test]
async fn local_regions_hold_anything() {
    LOCAL.configure(Config::new(Memory::new(10))).unwrap();
    let (one, two) = (connection("db").await, connection("db").await);
    assert!(Arc::ptr_eq(&one, &two));
    assert!(connection::get("db").await.unwrap().is_some());
}

#[tokio::test]
async fn functions_may_be_inside_functions() {
    region!(INNER);

    #[cached(region = INNER)]
    async fn inner(n: u8) -> u8 {
        n + 1
    }

    assert_eq!(inner(1).await, 2);
    assert_eq!(inner::get(1).await.unwrap(), Some(2));
}

static UNCONFIGURED: Region = Region::new("unconfigured");

#[cached(region = UNCONFIGURED)]
async fn uncached(n: u8) -> u8 {
    n
}

#[tokio::test]
async fn without_a_backend_functions_run_all_the_same() {
    assert_eq!((uncached(1).await, uncached::refresh(2).await), (1, 2));
    assert!(uncached::get(1).await.is_err());
}

region!(BEHIND);
static GENERATION: AtomicU32 = AtomicU32::new(0);

#[cached(region = BEHIND, expiration = "0s", background)]
async fn behind(name: String) -> u32 {
    let _ = name;
    GENERATION.fetch_add(1, Ordering::SeqCst)
}

#[tokio::test]
async fn old_values_are_renewed_behind() {
    assert_eq!(behind("k".into()).await, 0);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(behind("k".into()).await, 0, "the old value at once");
    while GENERATION.load(Ordering::SeqCst) < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_on_a_function_runs_it_once() {
    region!(STORM);
    static COUNT: AtomicU32 = AtomicU32::new(0);

    #[cached(region = STORM)]
    async fn slow(n: u32) -> u32 {
        tokio::time::sleep(Duration::from_millis(30)).await;
        COUNT.fetch_add(1, Ordering::SeqCst) + n
    }

    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..1_000 {
        tasks.spawn(slow(5));
    }
    assert!(tasks.join_all().await.into_iter().all(|value| value == 5));
    assert_eq!(COUNT.load(Ordering::SeqCst), 1);
}

/// An invalidation during a creation does not stop it, but what it makes is not stored; nor
/// over a refresh beside it.
#[tokio::test]
async fn invalidating_and_refreshing_during_a_creation() {
    region!(DURING);
    static GO: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(0);
    static STARTED: AtomicU32 = AtomicU32::new(0);

    #[cached(region = DURING)]
    async fn gated(key: u8) -> u32 {
        let _ = key;
        let number = STARTED.fetch_add(1, Ordering::SeqCst);
        if number == 0 {
            GO.acquire().await.unwrap().forget();
        }
        number
    }

    let first = tokio::spawn(gated(1));
    while STARTED.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    gated::invalidate(1).await.unwrap();
    assert_eq!(gated::refresh(1).await, 1);
    assert_eq!(gated::get(1).await.unwrap(), Some(1));
    GO.add_permits(1);
    assert_eq!(first.await.unwrap(), 0);
    assert_eq!(gated::get(1).await.unwrap(), Some(1), "the creation began before");
}

static OWN: Region = Region::new("own");

#[cached(region = OWN)]
fn shouted(word: &str) -> String {
    word.to_uppercase()
}

#[test]
fn a_region_may_have_its_own_way_to_make_keys() {
    assert_eq!(shouted::key("a b"), r"cached:shouted|a\sb");
    let config = Config::new(Memory::new(10)).key_generator(dogpile::key::python);
    OWN.configure(config).unwrap();
    assert_eq!(shouted::key("a b"), "cached:shouted|a b");
    assert_eq!((shouted("a b").as_str(), shouted::get("a b").unwrap().is_some()), ("A B", true));
}

#[test]
fn attributes_and_lifetimes_go_where_they_belong() {
    region!(ATTRIBUTES);

    /// Its own documentation.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "of its own body")]
    #[cached(region = ATTRIBUTES)]
    fn longest<'a>(one: &'a str, other: &'a str, owned: String) -> usize {
        one.len().max(other.len()).max(owned.len())
    }

    #[cfg(any())]
    #[cached(region = NOWHERE)]
    fn left_out(n: u8) -> u8 {
        n
    }

    assert_eq!(longest("a", "bcd", "ef".into()), 3);
    assert_eq!(longest::get("a", "bcd", "ef".into()).unwrap(), Some(3));
}
