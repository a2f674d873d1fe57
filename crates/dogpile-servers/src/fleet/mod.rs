//! Races between processes: several workers, each with a region of its own
//! over one shared cache, start at the same moment.
//!
//! A worker is a program that calls [`worker`] and nothing else (and registers
//! backends of its own before, if there are any); this package has one,
//! `dogpile-worker`. The checks are functions over a [`Fleet`].

#![expect(clippy::missing_panics_doc, reason = "a check panics when it fails; that is all it does")]

mod checks;
mod collection;
mod job;
mod worker;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

pub use checks::*;
pub use collection::{Entities, Entity, Keeping, Seen, check, collection_worker};
pub use job::{Answer, Race};
use job::{GO, Job, READY};
use serde::de::DeserializeOwned;
pub use worker::worker;

use crate::servers::wait_until_stopped;

/// Processes that share a cache.
#[derive(Debug, Clone)]
pub struct Fleet {
    worker: PathBuf,
    settings: BTreeMap<String, String>,
    scratch: PathBuf,
    processes: usize,
    tasks: usize,
}

impl Fleet {
    /// Eight processes of 25 tasks that run the program at `worker`, over the
    /// cache that `settings` name (see [`dogpile::config`]), with the directory
    /// `scratch` for notes.
    pub fn new<'a>(
        worker: impl AsRef<Path>,
        settings: impl IntoIterator<Item = (&'a str, String)>,
        scratch: impl AsRef<Path>,
    ) -> Self {
        Self {
            worker: worker.as_ref().to_owned(),
            settings: settings.into_iter().map(|(name, text)| (name.to_owned(), text)).collect(),
            scratch: scratch.as_ref().to_owned(),
            processes: 8,
            tasks: 25,
        }
    }

    /// The same with another number of processes, each with `tasks` tasks.
    #[must_use]
    pub fn sized(self, processes: usize, tasks: usize) -> Self {
        Self { processes, tasks, ..self }
    }

    /// Starts one worker, which waits for [`Worker::go`].
    pub fn start(&self, race: Race, key: &str) -> Worker {
        let job = Job {
            settings: self.settings.clone(),
            race,
            key: key.to_owned(),
            notes: self.notes(key),
            tasks: self.tasks,
        };
        let job = serde_json::to_string(&job).expect("a job is plain data");
        Worker::launch(&self.worker, &job)
    }

    /// Runs `race` on `key` in all processes at once, and returns all answers.
    pub fn run(&self, race: Race, key: &str) -> Vec<Answer> {
        let mut workers: Vec<Worker> = (0..self.processes).map(|_| self.start(race, key)).collect();
        workers.iter_mut().for_each(Worker::ready);
        workers.iter_mut().for_each(Worker::go);
        workers.into_iter().flat_map(Worker::answers).collect()
    }

    /// The file that creators of a race on `key` note in that they began.
    pub fn notes(&self, key: &str) -> PathBuf {
        self.scratch.join(format!("{key}.log"))
    }

    /// Returns what the creators of a race on `key` noted: one line per creation that
    /// began.
    pub fn creations(&self, key: &str) -> Vec<String> {
        let notes = std::fs::read_to_string(self.notes(key)).unwrap_or_default();
        notes.lines().map(str::to_owned).collect()
    }
}

/// A running worker process.
#[derive(Debug)]
pub struct Worker {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts `program` with `job` as its argument.
    fn launch(program: &Path, job: &str) -> Self {
        let mut process = Command::new(program)
            .arg(job)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the worker program starts");
        let input = process.stdin.take().expect("it was piped");
        let output = BufReader::new(process.stdout.take().expect("it was piped"));
        Self { process, input, output }
    }

    /// Waits until the worker has opened its cache.
    pub fn ready(&mut self) {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the worker answers");
        assert_eq!(line.trim(), READY, "the worker failed to start");
    }

    /// Lets it begin.
    pub fn go(&mut self) {
        writeln!(self.input, "{GO}").expect("the worker listens");
    }

    /// Stops it in the middle of whatever it does.
    pub fn pause(&self) {
        self.signal("-STOP");
        wait_until_stopped(self.process.id());
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let process = self.process.id().to_string();
        let sent = Command::new("kill").args([signal, &process]).status();
        assert!(sent.is_ok_and(|status| status.success()));
    }

    /// Ends the process as no destructor sees coming: SIGKILL.
    pub fn kill(mut self) {
        self.process.kill().expect("the worker can be killed");
        self.process.wait().expect("the worker was a child");
    }

    /// Waits for its end; all answers it gave.
    pub fn answers<A: DeserializeOwned>(mut self) -> Vec<A> {
        let answers = self.output.by_ref().lines().map(|line| {
            let line = line.expect("the worker writes text");
            serde_json::from_str(&line).expect("the worker writes answers")
        });
        let answers = answers.collect();
        self.process.wait().expect("the worker was a child");
        answers
    }
}
