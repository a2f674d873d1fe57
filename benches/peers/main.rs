//! Speed beside other caches, as ratios: every contestant takes part in every
//! round, so that whatever else the machine does hits them all alike.
//! `--quick` takes a tenth of the time.

mod hits;
mod measure;
mod storm;
mod threads;

use measure::Effort;

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let effort = if quick { Effort::QUICK } else { Effort::FULL };
    hits::run(effort);
    threads::run(effort);
    storm::run();
}
