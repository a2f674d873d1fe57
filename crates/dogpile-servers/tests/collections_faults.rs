//! Collections when their store is away, comes back empty or with something else,
//! or a lock is lost; and Python beside them.

mod common;

use std::collections::HashMap;
use std::future::{Ready, ready};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use common::{python, script, wait_for_async};
use dogpile::Error;
use dogpile::backend::{AnyBackend, Memory, Redis};
use dogpile::codec::MessagePack;
use dogpile::collections::{
    CachedMapping, CachedSequence, CollectionBuilder, LazyCached, WhenAway,
};
use dogpile_servers::RedisServer;
use serde_json::{Value, json};
use tokio::sync::Notify;

type Numbers = HashMap<String, u64>;

static SERVER: LazyLock<RedisServer> = LazyLock::new(RedisServer::start);

fn redis(server: &RedisServer) -> Redis {
    let builder = Redis::builder(&server.url()).unwrap();
    builder.connect_timeout(Duration::from_millis(200)).open().unwrap()
}

/// A loader that counts, and says the count.
fn counting(loads: &Arc<AtomicU32>) -> impl Fn() -> Ready<Result<Numbers, Error>> + use<> {
    let loads = loads.clone();
    move || {
        let load = u64::from(loads.fetch_add(1, Ordering::SeqCst)) + 1;
        ready(Ok(HashMap::from([("load".to_owned(), load)])))
    }
}

fn collection(
    name: &str,
    server: &RedisServer,
    loads: &Arc<AtomicU32>,
) -> CollectionBuilder<Numbers> {
    CachedMapping::builder(name, redis(server), counting(loads))
        .version("1")
        .check_interval(Duration::from_millis(50))
}

#[tokio::test]
async fn a_store_that_is_away_at_the_start() {
    let mut server = RedisServer::start();
    server.kill();
    let loads = Arc::new(AtomicU32::new(0));
    let open = |when_away| collection("away", &server, &loads).when_away(when_away).open();
    let failed = open(WhenAway::Fail).await.unwrap_err();
    assert!(matches!(&failed, Error::Collection(of) if of.collection == "away"));
    let local = open(WhenAway::LoadLocally).await.unwrap();
    assert_eq!((local.revision(), local.get("load")), (0, Some(1)));
    assert!(!local.statistics().in_step && local.statistics().failures > 0);

    let waiting = tokio::spawn(open(WhenAway::Wait));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!waiting.is_finished());
    server.restart();
    let waited = waiting.await.unwrap().unwrap();
    wait_for_async(async || local.revision() == waited.revision() && waited.revision() > 0).await;
    wait_for_async(async || local.statistics().in_step && waited.statistics().in_step).await;
    assert_eq!(local.get("load"), waited.get("load"));
    assert_eq!(loads.load(Ordering::SeqCst), 2, "one of them has loaded for both");
}

#[tokio::test]
async fn a_store_that_goes_away_and_comes_back() {
    let mut server = RedisServer::start();
    let loads = Arc::new(AtomicU32::new(0));
    let one = collection("later", &server, &loads).open().await.unwrap();
    let two = collection("later", &server, &loads).open().await.unwrap();
    let second = one.push().await.unwrap();
    wait_for_async(async || two.revision() == second).await;
    server.kill();
    for numbers in [&one, &two] {
        wait_for_async(async || !numbers.statistics().in_step).await;
        assert_eq!((numbers.revision(), numbers.get("load")), (second, Some(2)));
    }
    assert!(one.push().await.is_err());
    assert_eq!(one.get("load"), Some(2), "a push that is not stored is nobody's");
    assert!(two.pull().await.is_err());
    // It has lost everything.
    let before = loads.load(Ordering::SeqCst);
    server.restart();
    for numbers in [&one, &two] {
        wait_for_async(async || numbers.statistics().in_step && numbers.revision() > second).await;
    }
    assert_eq!((one.get("load"), one.revision()), (two.get("load"), two.revision()));
    assert_eq!(loads.load(Ordering::SeqCst), before + 1);
}

/// A store that answers nothing holds up no reader.
#[tokio::test]
async fn a_store_that_hangs_holds_up_nobody() {
    let server = RedisServer::start();
    let loads = Arc::new(AtomicU32::new(0));
    let numbers = collection("hangs", &server, &loads).open().await.unwrap();
    server.pause();
    wait_for_async(async || {
        assert_eq!(numbers.get("load"), Some(1));
        !numbers.statistics().in_step
    })
    .await;
    server.resume();
    wait_for_async(async || numbers.statistics().in_step).await;
}

/// A failover may bring back an older revision: nobody believes it.
#[tokio::test]
async fn a_store_that_goes_back_is_pushed_forward() {
    let loads = Arc::new(AtomicU32::new(0));
    let numbers = collection("back", &SERVER, &loads).open().await.unwrap();
    let old = numbers.revision();
    let last = numbers.push().await.unwrap();
    assert!(SERVER.ask(&format!("SET cached.back.1.revision {old}")).contains("OK"));
    wait_for_async(async || numbers.revision() > last).await;
    assert_eq!(numbers.get("load"), Some(3));
    let fresh = collection("back", &SERVER, &loads).open().await.unwrap();
    assert_eq!((fresh.revision(), fresh.get("load")), (numbers.revision(), Some(3)));
}

/// A store that restarts empty gets its data by a process that has just started, before
/// those who were there look again: their number is not given a second time.
#[tokio::test]
async fn a_number_is_never_given_twice() {
    let loads = Arc::new(AtomicU32::new(0));
    let open = |interval| collection("again", &SERVER, &loads).check_interval(interval).open();
    let before = open(Duration::from_secs(3_600)).await.unwrap();
    let known = before.revision();
    SERVER.ask("DEL cached.again.1.revision cached.again.1.data");
    let fresh = open(Duration::from_secs(3_600)).await.unwrap();
    assert!(fresh.revision() > known, "{} after {known}", fresh.revision());
    before.pull().await.unwrap();
    assert_eq!((before.revision(), before.get("load")), (fresh.revision(), fresh.get("load")));
}

/// A loader that hangs is given up, and the lock with it.
#[tokio::test]
async fn a_hanging_loader_stops_nobody() {
    static LOADS: AtomicU32 = AtomicU32::new(0);
    async fn load() -> Result<Numbers, Error> {
        let load = LOADS.fetch_add(1, Ordering::SeqCst);
        if load == 1 {
            std::future::pending::<()>().await;
        }
        Ok(HashMap::from([("load".to_owned(), u64::from(load))]))
    }
    let builder = CachedMapping::builder("hanging", redis(&SERVER), load).version("1");
    let numbers = builder.load_timeout(Duration::from_millis(20)).open().await.unwrap();
    let failed = numbers.push().await.unwrap_err();
    assert!(failed.to_string().contains("load_timeout"), "{failed}");
    numbers.push().await.unwrap();
    assert_eq!(numbers.get("load"), Some(2));
}

/// What strangers write is left to them by who has data, and replaced by who has
/// none.
#[tokio::test]
async fn broken_data_are_replaced() {
    let loads = Arc::new(AtomicU32::new(0));
    let numbers = collection("broken", &SERVER, &loads).open().await.unwrap();
    for nonsense in ["SET cached.broken.1.data nonsense", "SET cached.broken.1.data {}|[["] {
        let before = numbers.statistics().unreadable;
        SERVER.ask(nonsense);
        SERVER.ask("INCR cached.broken.1.revision");
        wait_for_async(async || numbers.statistics().unreadable > before).await;
        wait_for_async(async || !numbers.statistics().in_step).await;
        assert!(numbers.get("load").is_some());
        let fresh = collection("broken", &SERVER, &loads).open().await.unwrap();
        wait_for_async(async || numbers.revision() == fresh.revision()).await;
        assert_eq!(numbers.get("load"), fresh.get("load"));
    }
    // Keys of another kind, and a number that is none.
    let before = numbers.revision();
    SERVER.ask("DEL cached.broken.1.revision");
    SERVER.ask("RPUSH cached.broken.1.revision x");
    wait_for_async(async || numbers.revision() > before).await;
    let before = numbers.revision();
    SERVER.ask("SET cached.broken.1.revision x");
    wait_for_async(async || numbers.revision() > before).await;
    // Another codec under the same version.
    let other = collection("broken", &SERVER, &loads).codec(MessagePack).open().await.unwrap();
    assert!(other.revision() > before);
    let error = numbers.pull().await.unwrap_err().to_string();
    assert!(error.contains("`msgpack`") && error.contains("`json`"), "{error}");
}

/// Who has an older revision makes data that are gone again: nobody else can read them
/// either.
#[tokio::test]
async fn holders_replace_what_is_gone() {
    let loads = Arc::new(AtomicU32::new(0));
    let numbers = collection("gone", &SERVER, &loads).open().await.unwrap();
    for (load, put_there) in ["", "RPUSH cached.gone.1.data x"].into_iter().enumerate() {
        SERVER.ask("DEL cached.gone.1.data");
        SERVER.ask(put_there);
        let before = numbers.revision();
        SERVER.ask("INCR cached.gone.1.revision");
        wait_for_async(async || numbers.revision() > before).await;
        assert_eq!(numbers.get("load"), Some(load as u64 + 2));
    }
    let fresh = collection("gone", &SERVER, &loads).open().await.unwrap();
    assert_eq!((fresh.revision(), loads.load(Ordering::SeqCst)), (numbers.revision(), 3));
}

/// Parts that are gone for good are no reason to look for them for ever: they are
/// replaced by who opens and by who is behind.
#[tokio::test]
async fn missing_parts_are_replaced() {
    let loads = Arc::new(AtomicU32::new(0));
    let open = || {
        let loads = loads.clone();
        let load = move || {
            let load = loads.fetch_add(1, Ordering::SeqCst);
            ready(Ok::<_, Error>((0..1_000).map(|n| n + load).collect::<Vec<u32>>()))
        };
        CachedSequence::builder("parts", redis(&SERVER), load).part_bytes(512).open()
    };
    let holder = open().await.unwrap();
    let first = holder.revision();
    assert!(SERVER.ask("DEL cached.parts.0.parts").contains(":1"));
    let fresh = open().await.unwrap();
    assert!(fresh.revision() > first);
    assert_eq!((fresh.get(0), loads.load(Ordering::SeqCst)), (Some(1), 2));
    wait_for_async(async || holder.get(0) == Some(1)).await;
    // The number is last: whoever is told of it finds no parts.
    let before = fresh.revision();
    SERVER.ask("DEL cached.parts.0.parts");
    SERVER.ask("INCR cached.parts.0.revision");
    for numbers in [&holder, &fresh] {
        wait_for_async(async || numbers.revision() > before).await;
        assert_eq!(numbers.get(0), Some(2));
    }
    assert_eq!(loads.load(Ordering::SeqCst), 3);
}

/// What one cannot read is read once, and again when there is another one.
#[tokio::test]
async fn what_is_left_alone_is_not_read_again_and_again() {
    let server = RedisServer::start();
    let loads = Arc::new(AtomicU32::new(0));
    let numbers = collection("alone", &server, &loads).open().await.unwrap();
    server.ask("SET cached.alone.1.data nonsense");
    server.ask("INCR cached.alone.1.revision");
    wait_for_async(async || numbers.statistics().unreadable == 1).await;
    let before = server.count_commands("mget");
    let checks = numbers.statistics().checks;
    wait_for_async(async || numbers.statistics().checks > checks + 3).await;
    let (why, pushed) = (numbers.pull().await.unwrap_err(), numbers.revision());
    assert!(why.to_string().contains("header"), "{why}");
    assert!(!numbers.statistics().in_step);
    assert_eq!((server.count_commands("mget"), numbers.statistics().unreadable), (before, 1));
    server.ask("INCR cached.alone.1.revision");
    wait_for_async(async || numbers.statistics().unreadable == 2).await;
    assert!(numbers.push().await.unwrap() > pushed);
    wait_for_async(async || numbers.statistics().in_step).await;
}

/// A process that loses the lock while it loads does not overwrite what was
/// loaded later.
#[tokio::test]
async fn who_loses_the_lock_loads_again() {
    static LOADS: AtomicU32 = AtomicU32::new(0);
    static HELD_UP: AtomicBool = AtomicBool::new(false);
    static GO_ON: Notify = Notify::const_new();
    async fn load() -> Result<Numbers, Error> {
        let load = u64::from(LOADS.fetch_add(1, Ordering::SeqCst)) + 1;
        if load == 2 {
            HELD_UP.store(true, Ordering::SeqCst);
            GO_ON.notified().await;
        }
        Ok(HashMap::from([("load".to_owned(), load)]))
    }
    let open = || CachedMapping::builder("lease", redis(&SERVER), load).version("1").open();
    let (slow, quick) = (open().await.unwrap(), open().await.unwrap());
    let pushing = tokio::spawn({
        let slow = slow.clone();
        async move { slow.push().await }
    });
    wait_for_async(async || HELD_UP.load(Ordering::SeqCst)).await;
    assert!(SERVER.ask("DEL _lockcached.lease.1.revision").contains(":1"));
    let overtaking = quick.push().await.unwrap();
    assert_eq!(quick.get("load"), Some(3));
    GO_ON.notify_one();
    assert!(pushing.await.unwrap().unwrap() > overtaking);
    assert_eq!(slow.get("load"), Some(4), "the second load was not stored");
    wait_for_async(async || quick.get("load") == Some(4)).await;
}

#[tokio::test]
async fn what_cannot_be_opened_says_why() {
    let loads = Arc::new(AtomicU32::new(0));
    let why = async |name: &str, version: &str, backend: AnyBackend| {
        let builder = CachedMapping::builder(name, backend, counting(&loads)).version(version);
        builder.open().await.unwrap_err().to_string()
    };
    let memory = || AnyBackend::new(Memory::new(10));
    assert!(why("m", "1", memory()).await.contains("use Redis or a file"));
    assert!(why("", "1", memory()).await.contains("name"));
    assert!(why("a.b", "1", memory()).await.contains("dot"));
    assert!(why("a\n", "1", memory()).await.contains("control"));
    assert!(why("a", &"x".repeat(201), memory()).await.contains("version"));
    let small = collection("small", &SERVER, &loads).max_bytes(3).open().await.unwrap_err();
    assert!(small.to_string().contains("max_bytes"), "{small}");
    let blocking = collection("blocking", &SERVER, &loads).open_blocking().unwrap_err();
    assert!(blocking.to_string().contains("current-thread"), "{blocking}");
}

/// A collection in a static: opened once, by its first users together.
#[tokio::test(flavor = "multi_thread")]
async fn a_lazy_collection_is_opened_by_its_first_user() {
    static LOADS: AtomicU32 = AtomicU32::new(0);
    static LAZY: LazyCached<Numbers> = LazyCached::new(|| {
        let load = || async {
            match LOADS.fetch_add(1, Ordering::SeqCst) {
                0 => Err("not yet"),
                _ => Ok(HashMap::from([("a".to_owned(), 1)])),
            }
        };
        Ok(CachedMapping::builder("lazy", redis(&SERVER), load))
    });
    assert!(LAZY.get().await.is_err());
    let users = (0..8).map(|_| tokio::spawn(async { LAZY.get().await.unwrap().get("a") }));
    for user in users.collect::<Vec<_>>() {
        assert_eq!(user.await.unwrap(), Some(1));
    }
    assert_eq!(LAZY.get_blocking().unwrap().get("a"), Some(1));
    assert_eq!(LOADS.load(Ordering::SeqCst), 2);
}

/// Who finds out first that the store is away says so.
#[tokio::test]
async fn a_failed_pull_is_out_of_step() {
    let mut server = RedisServer::start();
    let loads = Arc::new(AtomicU32::new(0));
    let open = || collection("step", &server, &loads).check_interval(Duration::from_secs(3_600));
    let (one, two) = (open().open().await.unwrap(), open().open().await.unwrap());
    assert!(one.statistics().in_step && two.statistics().in_step);
    server.kill();
    assert!(one.pull().await.is_err() && two.push().await.is_err());
    assert!(!one.statistics().in_step && !two.statistics().in_step);
    server.restart();
    wait_for_async(async || two.push().await.is_ok()).await;
    assert!(two.statistics().in_step);
}

/// An async loader may need tokio, also where its caller has none.
#[test]
fn async_loaders_run_inside_a_runtime() {
    async fn load() -> Result<Numbers, Error> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok(HashMap::from([("a".to_owned(), 1)]))
    }
    static LAZY: LazyCached<Numbers> = LazyCached::new(|| {
        let backend = dogpile::config::backend_at(&SERVER.url())?;
        Ok(CachedMapping::builder("lazy-blocking", backend, load))
    });
    assert_eq!(LAZY.get_blocking().unwrap().get("a"), Some(1));
    let numbers = CachedMapping::builder("no-runtime", redis(&SERVER), load);
    let numbers = numbers.open_blocking().unwrap();
    let before = numbers.revision();
    assert!(numbers.blocking().push().unwrap() > before);
}

/// A panic in a loader is its caller's; behind, it is noted, and all goes on.
#[tokio::test]
async fn a_panicking_loader_ends_nothing() {
    static LOADS: AtomicU32 = AtomicU32::new(0);
    async fn load() -> Result<Numbers, Error> {
        let load = LOADS.fetch_add(1, Ordering::SeqCst);
        assert!(!(1..4).contains(&load), "the table is not there");
        Ok(HashMap::from([("load".to_owned(), u64::from(load))]))
    }
    let builder = CachedMapping::builder("panics", redis(&SERVER), load).version("1");
    let numbers = builder.check_interval(Duration::from_millis(20)).open().await.unwrap();
    let pushing = numbers.clone();
    assert!(tokio::spawn(async move { pushing.push().await }).await.unwrap_err().is_panic());
    numbers.purge("1").await.unwrap();
    wait_for_async(async || numbers.get("load") == Some(4)).await;
    wait_for_async(async || numbers.statistics().in_step).await;
}

fn python_with(name: &str, arguments: &[&str]) -> Command {
    let mut command = python();
    command.arg(script("collection.py")).args([&SERVER.url(), name]).args(arguments);
    command.stderr(Stdio::inherit());
    command
}

fn run_python(name: &str, arguments: &[&str]) -> Value {
    let output = python_with(name, arguments).output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn python_and_rust_share_a_collection() {
    const NAME: &str = "shared.with.python";
    let loads = Arc::new(AtomicU32::new(0));
    assert_eq!(run_python(NAME, &["push", r#"{"load": 1, "π": 2}"#]), json!(1));
    let numbers = collection(NAME, &SERVER, &loads).python().open().await.unwrap();
    assert_eq!((numbers.get("load"), numbers.get("π"), numbers.revision()), (Some(1), Some(2), 1));
    assert_eq!(run_python(NAME, &["push", r#"{"load": 7}"#]), json!(2));
    wait_for_async(async || numbers.get("load") == Some(7)).await;
    let pushed = numbers.push().await.unwrap();
    assert_eq!(run_python(NAME, &["pull"]), json!([pushed, {"load": 1}]));
    assert_eq!(run_python(NAME, &["push", r#"{"load": 8}"#]), json!(pushed + 1));
    wait_for_async(async || numbers.get("load") == Some(8)).await;
}

/// The original reads number and data with two requests: they always belong
/// together, unless it was overtaken between them. It goes on reading while each next
/// revision is pushed, and comes by every one.
#[test]
fn python_reads_consistent_pairs() {
    const PUSHES: u64 = 300;
    let loads = Arc::new(AtomicU32::new(0));
    let numbers = collection("pairs", &SERVER, &loads).python().open_blocking().unwrap();
    let until = (1 + PUSHES).to_string();
    let mut watching = python_with("pairs", &["watch", &until]);
    let mut watching = watching.stdout(Stdio::piped()).spawn().unwrap();
    let mut seen = BufReader::new(watching.stdout.take().unwrap()).lines();
    for load in 1..=1 + PUSHES {
        assert_eq!(seen.next().unwrap().unwrap(), load.to_string());
        if load <= PUSHES {
            numbers.blocking().push().unwrap();
        }
    }
    assert!(watching.wait().unwrap().success());
}

/// While one revision gives way to the next there are two in memory: neither encoding
/// nor decoding holds another, a pusher that is told of its own push does not decode it,
/// and the old one goes as soon as it can.
#[tokio::test(flavor = "multi_thread")]
async fn there_are_two_revisions_in_memory_at_most() {
    static LIVE: AtomicU32 = AtomicU32::new(0);
    static PEAK: AtomicU32 = AtomicU32::new(0);

    #[derive(serde::Serialize, serde::Deserialize)]
    #[serde(from = "u32", into = "u32")]
    struct Counted(u32);

    impl From<u32> for Counted {
        fn from(number: u32) -> Self {
            PEAK.fetch_max(LIVE.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            Self(number)
        }
    }

    impl From<Counted> for u32 {
        fn from(counted: Counted) -> Self {
            counted.0
        }
    }

    impl Clone for Counted {
        fn clone(&self) -> Self {
            self.0.into()
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            LIVE.fetch_sub(1, Ordering::SeqCst);
        }
    }

    const ENTRIES: u32 = 5_000;
    let load = || async { Ok::<_, Error>((0..ENTRIES).map(Counted::from).collect::<Vec<_>>()) };
    let open = || {
        let backend = redis(&SERVER);
        CachedSequence::builder("counted", backend, load).part_bytes(8 << 10).open()
    };
    let (here, there) = (open().await.unwrap(), open().await.unwrap());
    for round in 0..20 {
        wait_for_async(async || LIVE.load(Ordering::SeqCst) == 2 * ENTRIES).await;
        let [pusher, other] = if round % 2 == 0 { [&here, &there] } else { [&there, &here] };
        let pushed = pusher.push().await.unwrap();
        wait_for_async(async || other.revision() == pushed).await;
    }
    // Two for each of the two, and the entry that is being written down.
    let peak = PEAK.load(Ordering::SeqCst);
    assert!((3 * ENTRIES..=4 * ENTRIES + 10).contains(&peak), "{peak}");
}
