//! The file backend beside bare SQLite, and beside Python's dogpile.cache over
//! the same file.

use std::time::Duration;

use dogpile::backend::File;
use dogpile::{Config, Region};
use rusqlite::{Connection, params};
use tempfile::TempDir;

use crate::measure::{Contestant, Effort, race};
use crate::python;
use crate::table::{Row, Section};

const KEYS: usize = 1_000;
const VALUE_BYTES: usize = 200;

/// A cache file, open as ours and bare.
struct Contest {
    directory: TempDir,
    region: Region,
    keys: Vec<String>,
}

impl Contest {
    fn filled() -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let region = Region::new("file");
        let file = File::open(directory.path().join("cache.db")).expect("a new file");
        let never = Config::new(file).shared_keys().expiration(Duration::from_secs(3_600));
        region.configure(never).expect("a new region");
        let keys: Vec<String> = (0..KEYS).map(|n| format!("user:{n}")).collect();
        let value = "x".repeat(VALUE_BYTES);
        let values = keys.iter().map(|key| (key, &value));
        pollster::block_on(region.set_multi(values)).expect("the file can be written");
        Self { directory, region, keys }
    }

    fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("cache.db")
    }

    fn bare(&self) -> Connection {
        let connection = Connection::open(self.path()).expect("the file is there");
        let settings = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;";
        connection.execute_batch(settings).expect("they are known");
        connection
    }
}

fn bare_get(connection: &Connection, key: &str) -> Vec<u8> {
    let mut statement =
        connection.prepare_cached("SELECT value FROM Dict WHERE key = ?1").expect("good SQL");
    statement.query_row([key.as_bytes()], |row| row.get(0)).expect("it is there")
}

pub(crate) fn section(effort: Effort) -> Section {
    let contest = Contest::filled();
    let [reads] = race(
        &[
            Contestant::awaiting("get", async |number| {
                let key = &contest.keys[number % KEYS];
                contest.region.get::<String>(key).await.expect("the file is there");
            }),
            Contestant::awaiting("get_or_create hit", async |number| {
                let key = &contest.keys[number % KEYS];
                let _: String = contest.region.get_or_create(key, async || String::new()).await;
            }),
            bare("rusqlite get", &contest, |connection, number, keys| {
                std::hint::black_box(bare_get(connection, &keys[number % KEYS]));
            }),
        ],
        [1],
        Effort { calls: effort.calls / 50, ..effort },
    );
    let [writes] = race(
        &[
            Contestant::calling("set", |number| {
                let key = &contest.keys[number % KEYS];
                let value = "y".repeat(VALUE_BYTES);
                contest.region.blocking().set(key, &value).expect("it can be written");
            }),
            Contestant::awaiting("set of a task", async |number| {
                let key = &contest.keys[number % KEYS];
                let value = "y".repeat(VALUE_BYTES);
                contest.region.set(key, &value).await.expect("it can be written");
            }),
            bare("rusqlite put", &contest, |connection, number, keys| {
                let sql = "REPLACE INTO Dict (key, value) VALUES (?1, ?2)";
                let mut statement = connection.prepare_cached(sql).expect("good SQL");
                // Under keys of its own: it writes no frames.
                let key = ["bare:", &keys[number % KEYS]].concat();
                statement
                    .execute(params![key.as_bytes(), [b'y'; VALUE_BYTES]])
                    .expect("it can be written");
            }),
            Contestant::awaiting("get_multi of 100", async |_| {
                let keys = contest.keys[..100].iter();
                contest.region.get_multi::<String, _>(keys).await.expect("the file is there");
            }),
        ],
        [1],
        Effort { calls: effort.calls / 500, ..effort },
    );
    let micro = |times: f64| times / 1_000.0;
    let (get, hit) = (micro(reads.of("get")), micro(reads.of("get_or_create hit")));
    let (bare_get, bare_put) = (micro(reads.of("rusqlite get")), micro(writes.of("rusqlite put")));
    let (set, of_task) = (micro(writes.of("set")), micro(writes.of("set of a task")));
    let multi = micro(writes.of("get_multi of 100"));
    let mut rows = vec![
        Row::new(("get, file", get), ("rusqlite get", bare_get), "us").ratio_at_most(1.5),
        Row::new(("get_or_create hit, file", hit), ("rusqlite get", bare_get), "us"),
        Row::new(("blocking set, file", set), ("rusqlite put", bare_put), "us").ratio_at_most(2.0),
        Row::new(("set of a task, file", of_task), ("rusqlite put", bare_put), "us"),
        Row::new(("get_multi of 100, file", multi), ("100 rusqlite gets", 100.0 * bare_get), "us"),
    ];
    let path = contest.path().display().to_string();
    if let Some([python_get, python_multi]) = python::numbers(SCRIPT, &[&path]) {
        let python_multi = ("dogpile.cache.dbm get_multi", python_multi);
        rows.push(Row::new(("get, file", get), ("dogpile.cache.dbm get", python_get), "us"));
        rows.push(Row::new(("get_multi of 100, file", multi), python_multi, "us"));
    }
    Section { title: "values in a file: 200 bytes, JSON, 1,000 keys", rows }
}

/// One with a connection of its own to the bare file.
fn bare<'c>(
    name: &'static str,
    contest: &'c Contest,
    call: impl Fn(&Connection, usize, &[String]) + Sync + 'c,
) -> Contestant<'c> {
    let connection = std::sync::Mutex::new(contest.bare());
    Contestant::calling(name, move |number| {
        let connection = connection.lock().expect("nobody panics");
        call(&connection, number, &contest.keys);
    })
}

const SCRIPT: &str = r#"
import dbm.sqlite3, json, sys, time
from dogpile.cache import make_region
region = make_region(
    serializer=lambda value: json.dumps(value).encode(), deserializer=json.loads
).configure("dogpile.cache.dbm", arguments={"filename": sys.argv[1]})
def best(call, calls):
    times = []
    for _ in range(7):
        began = time.perf_counter()
        for number in range(calls):
            call(number)
        times.append((time.perf_counter() - began) / calls * 1e6)
    return min(times)
keys = [f"user:{number}" for number in range(100)]
assert isinstance(region.get("user:1"), str)
print(best(lambda n: region.get(keys[n % 100]), 500), best(lambda n: region.get_multi(keys), 20))
"#;
