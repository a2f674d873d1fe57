//! The load: wrk as the crowd, a writer, and a checker of how old reads are.

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::PgPool;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use crate::service::{Shop, router};
use crate::{Outcome, database};

/// The results of a run.
pub(crate) struct Run {
    cached: bool,
    requests_per_second: f64,
    p99: String,
    queries_per_second: f64,
    writes: u64,
    /// The delay after the commit of the next revision at which each was still read.
    stale: Vec<Duration>,
}

/// The customer that is written and read most.
const WATCHED: i64 = 1;

/// Nine requests of ten are for a customer or orders of few, as is usual; some are for
/// what is expensive.
const REQUESTS: &str = r#"
local count = 0
request = function()
    count = count + 1
    local id = math.floor(1000 * math.random() ^ 3) + 1
    if count % 10 == 0 then return wrk.format("GET", "/best") end
    if count % 2 == 0 then return wrk.format("GET", "/customers/" .. id .. "/orders") end
    return wrk.format("GET", "/customers/" .. id)
end
"#;

pub(crate) async fn run(pool: &PgPool, cached: bool, seconds: u64) -> Outcome<Run> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?.to_string();
    let service = router(Shop { pool: pool.clone(), cached });
    let serving = tokio::spawn(async { axum::serve(listener, service).await });

    let before = database::transactions(pool).await?;
    let began = Instant::now();
    let writer = Arc::new(Writer::default());
    let writing = tokio::spawn(writer.clone().write(pool.clone(), cached));
    let checking = tokio::spawn(check(address.clone(), writer.clone()));
    let (requests_per_second, p99) = wrk(&address, seconds).await?;
    writer.over.store(true, Ordering::Relaxed);
    writing.await??;
    let stale = checking.await??;
    let queries = database::transactions(pool).await? - before;
    serving.abort();
    let queries_per_second = queries as f64 / began.elapsed().as_secs_f64();
    let writes = writer.writes.load(Ordering::Relaxed);
    Ok(Run { cached, requests_per_second, p99, queries_per_second, writes, stale })
}

/// Requests per second, and the latency that 99 of 100 stay below.
async fn wrk(address: &str, seconds: u64) -> Outcome<(f64, String)> {
    let script = tempfile::NamedTempFile::new()?;
    std::fs::write(script.path(), REQUESTS)?;
    let wrk = Command::new("wrk")
        .args(["-t1", "-c64", &format!("-d{seconds}s"), "--latency", "-s"])
        .arg(script.path())
        .arg(format!("http://{address}"))
        .stderr(Stdio::inherit())
        .output()
        .await
        .map_err(|error| format!("wrk ({error}): `cargo xtask servers` installs it"))?;
    let text = String::from_utf8_lossy(&wrk.stdout);
    let after = |label: &str| {
        let mut lines = text.lines().map(str::trim);
        lines.find_map(|line| line.strip_prefix(label)).map(|rest| rest.trim().to_owned())
    };
    if text.contains("Non-2xx") {
        return Err(format!("some requests failed: {text}").into());
    }
    let rate = after("Requests/sec:").ok_or("wrk says nothing of its rate")?;
    Ok((rate.parse()?, after("99%").unwrap_or_default()))
}

/// Changes rows, and remembers when the revisions of the watched one were committed.
#[derive(Default)]
struct Writer {
    over: AtomicBool,
    writes: AtomicU64,
    /// Revision and the moment after its commit.
    committed: Mutex<Vec<(i64, Instant)>>,
}

impl Writer {
    async fn write(self: Arc<Self>, pool: PgPool, cached: bool) -> Outcome {
        let mut id = 0;
        while !self.over.load(Ordering::Relaxed) {
            id = id % database::CUSTOMERS + 1;
            for id in [WATCHED, id] {
                let revision = database::change(&pool, id, cached).await?;
                self.writes.fetch_add(1, Ordering::Relaxed);
                if id == WATCHED {
                    let mut committed =
                        self.committed.lock().unwrap_or_else(PoisonError::into_inner);
                    committed.push((revision, Instant::now()));
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Returns how long ago the revision after `revision` was committed, if it was.
    fn superseded(&self, revision: i64, now: Instant) -> Option<Duration> {
        let committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        let next = committed.iter().find(|(number, _)| *number > revision)?;
        now.checked_duration_since(next.1)
    }
}

/// Reads the watched row again and again.
async fn check(address: String, writer: Arc<Writer>) -> Outcome<Vec<Duration>> {
    let mut stale = Vec::new();
    while !writer.over.load(Ordering::Relaxed) {
        // What was committed before the request began must be read by its end, or
        // counts as stale.
        let asked = Instant::now();
        let row = read(&address).await?;
        let revision = row["revision"].as_i64().ok_or("a customer has a revision")?;
        stale.push(writer.superseded(revision, asked).unwrap_or_default());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(stale)
}

async fn read(address: &str) -> Outcome<Value> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!(
        "GET /customers/{WATCHED} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut response = String::new();
    stream.read_to_string(&mut response).await?;
    let (_, body) = response.split_once("\r\n\r\n").ok_or("a response has a body")?;
    Ok(serde_json::from_str(body)?)
}

fn quantile(sorted: &[Duration], percent: usize) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get(last * percent / 100).map_or(0.0, |stale| stale.as_secs_f64() * 1e3)
}

pub(crate) fn report(runs: &[Run], seconds: u64, expiration: Duration) {
    println!("{seconds} s each, 64 connections, all on this machine");
    println!(
        "| | requests/s | p99 | queries/s to PostgreSQL | writes | read too late, p99 | at most |"
    );
    println!("|---|---|---|---|---|---|---|");
    for run in runs {
        let mut stale = run.stale.clone();
        stale.sort_unstable();
        println!(
            "| {} | {:.0} | {} | {:.0} | {} | {:.0} ms | {:.0} ms |",
            if run.cached { "with the cache" } else { "without" },
            run.requests_per_second,
            run.p99,
            run.queries_per_second,
            run.writes,
            quantile(&stale, 99),
            quantile(&stale, 100),
        );
        let worst = stale.last().copied().unwrap_or_default();
        assert!(worst <= expiration, "a read was {worst:?} too late");
    }
}
