//! The second process: it loads nothing, and says what it sees.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::{Outcome, PACKAGE, catalogue};

/// Returns what that process does: it says each revision that it gets.
pub(crate) async fn run(postgres: &str, redis: &str) -> Outcome {
    let packages = catalogue::open(postgres, redis).await?;
    let seen = packages.statistics();
    println!(
        "shop: pulled {} in {:.0?}, {} loads",
        packages.len(),
        seen.pull_time.max(),
        seen.loads
    );
    let (mut last, mut count) = (0, 0);
    loop {
        let now = packages.snapshot();
        if now.revision() != last {
            (last, count) = (now.revision(), count + 1);
            let section = &now[PACKAGE].section;
            let agrees =
                now.view(catalogue::by_section)[section].iter().any(|name| name == PACKAGE);
            assert!(agrees, "a view is of its collection's revision");
            println!("shop: revision {count} of those it has seen, {PACKAGE} is in {section}");
        }
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
}

/// That process, seen from the first one.
pub(crate) struct Shop {
    _process: Child,
    says: Lines<BufReader<ChildStdout>>,
}

impl Shop {
    /// Starts it, and waits until it has the collection.
    pub(crate) async fn start(postgres: &str, redis: &str) -> Outcome<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["shop", postgres, redis])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let says = process.stdout.take().ok_or("it was piped")?;
        let mut shop = Self { _process: process, says: BufReader::new(says).lines() };
        shop.has_seen(1).await?;
        Ok(shop)
    }

    /// Passes on what it says until it says that it has seen so many revisions.
    pub(crate) async fn has_seen(&mut self, revision: u64) -> Outcome {
        while let Some(line) = self.says.next_line().await? {
            println!("{line}");
            if line.starts_with(&format!("shop: revision {revision} of")) {
                return Ok(());
            }
        }
        Err("the second process has ended".into())
    }
}
