//! The log of calls: a line per record.
//!
//! A line is written at once and as a whole, so a process that is killed loses no more than
//! the end of the calls that it was in.

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::clock::Moment;

/// The number of an operation or a creation, unique in a run: the process's number in the
/// upper half, a counter in the lower one.
pub type Id = u64;

/// Returns the number of the process that gave `id`.
pub fn process_of(id: Id) -> u64 {
    id >> 32
}

/// A value of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Its key.
    pub key: usize,
    /// The version that it was read at.
    pub version: u64,
    /// The creation that read it, or the operation that set it.
    pub by: Id,
}

/// A kind of operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A read that creates nothing.
    Get,
    /// A read that creates what is missing.
    Create,
    /// The read of a key when everything is over.
    Look,
    /// A change after which nobody is given an older value.
    Hard,
    /// A change after which nobody is given an older value as a fresh one.
    Soft,
}

/// The outcome of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Done,
    /// With an error: what it did is not known.
    Failed,
    /// Its future was dropped: what it did is not known.
    Cancelled,
    /// The same after it was asked for: it comes before what its caller asks for next.
    HandedOver,
}

/// As what a value was given to a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// As a fresh value.
    Fresh,
    /// As a stale one, or in a call that does not say.
    Stale,
}

/// A value that an operation returned for `key`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The key that was asked for.
    pub key: usize,
    /// The value.
    pub row: Row,
    /// As what it was given.
    pub given: Given,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// An operation begins.
    Begun {
        /// Its number.
        operation: Id,
        /// Its kind.
        kind: Kind,
        /// When.
        begin: Moment,
        /// Its keys, for a change each with the version that it is about.
        keys: Vec<(usize, u64)>,
    },
    /// An operation has ended.
    Ended {
        /// Its number.
        operation: Id,
        /// When.
        end: Moment,
        /// In which way.
        outcome: Outcome,
        /// The values that it returned.
        answers: Vec<Answer>,
    },
    /// A creator runs; it has just read the database.
    Creating {
        /// The number of the creation.
        creation: Id,
        /// The operation that it is a part of.
        operation: Id,
        /// The key.
        key: usize,
        /// When it began.
        begin: Moment,
        /// The version that it read.
        version: u64,
    },
    /// A creator has ended, or was dropped.
    Created {
        /// The number of the creation.
        creation: Id,
        /// When.
        end: Moment,
    },
    /// The process did not run meanwhile, though it should have.
    Halted {
        /// Since when at the latest.
        begin: Moment,
        /// Until when.
        end: Moment,
    },
    /// So many keys were answered by the near tier of the process when it ended.
    NearHits(u64),
}

const KINDS: [(Kind, &str); 5] = [
    (Kind::Get, "get"),
    (Kind::Create, "create"),
    (Kind::Look, "look"),
    (Kind::Hard, "hard"),
    (Kind::Soft, "soft"),
];

const OUTCOMES: [(Outcome, &str); 4] = [
    (Outcome::Done, "done"),
    (Outcome::Failed, "failed"),
    (Outcome::Cancelled, "cancelled"),
    (Outcome::HandedOver, "handed-over"),
];

const GIVEN: [(Given, &str); 2] = [(Given::Fresh, "fresh"), (Given::Stale, "stale")];

fn name<T: PartialEq>(names: &[(T, &'static str)], wanted: &T) -> &'static str {
    names.iter().find(|(value, _)| value == wanted).map_or("", |(_, name)| name)
}

fn named<T: Copy>(names: &[(T, &str)], wanted: &str) -> Option<T> {
    names.iter().find(|(_, name)| *name == wanted).map(|(value, _)| *value)
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begun { operation, kind, begin, keys } => {
                write!(f, "B {operation} {} {begin}", name(&KINDS, kind))?;
                keys.iter().try_for_each(|(key, version)| write!(f, " {key}:{version}"))
            }
            Self::Ended { operation, end, outcome, answers } => {
                write!(f, "E {operation} {end} {}", name(&OUTCOMES, outcome))?;
                answers.iter().try_for_each(|Answer { key, row, given }| {
                    let Row { key: of, version, by } = row;
                    write!(f, " {key}:{of}:{version}:{by}:{}", name(&GIVEN, given))
                })
            }
            Self::Creating { creation, operation, key, begin, version } => {
                write!(f, "C {creation} {operation} {key} {begin} {version}")
            }
            Self::Created { creation, end } => write!(f, "D {creation} {end}"),
            Self::Halted { begin, end } => write!(f, "H {begin} {end}"),
            Self::NearHits(count) => write!(f, "N {count}"),
        }
    }
}

impl Record {
    /// Reads a line. Returns `None` if it is not one of ours, as the last one of a process
    /// that was killed may be.
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let tag = words.next()?;
        let mut number = || words.next()?.parse::<u64>().ok();
        Some(match tag {
            "B" => {
                let operation = number()?;
                let kind = named(&KINDS, words.next()?)?;
                let begin = words.next()?.parse().ok()?;
                let keys = words.map(parse_key).collect::<Option<_>>()?;
                Self::Begun { operation, kind, begin, keys }
            }
            "E" => {
                let (operation, end) = (number()?, number()?);
                let outcome = named(&OUTCOMES, words.next()?)?;
                let answers = words.map(parse_answer).collect::<Option<_>>()?;
                Self::Ended { operation, end, outcome, answers }
            }
            "C" => Self::Creating {
                creation: number()?,
                operation: number()?,
                key: usize::try_from(number()?).ok()?,
                begin: number()?,
                version: number()?,
            },
            "D" => Self::Created { creation: number()?, end: number()? },
            "H" => Self::Halted { begin: number()?, end: number()? },
            "N" => Self::NearHits(number()?),
            _ => return None,
        })
    }
}

fn parse_key(word: &str) -> Option<(usize, u64)> {
    let (key, version) = word.split_once(':')?;
    Some((key.parse().ok()?, version.parse().ok()?))
}

fn parse_answer(word: &str) -> Option<Answer> {
    let mut parts = word.split(':');
    let key = parts.next()?.parse().ok()?;
    let of = parts.next()?.parse().ok()?;
    let mut number = || parts.next()?.parse().ok();
    let row = Row { key: of, version: number()?, by: number()? };
    Some(Answer { key, row, given: named(&GIVEN, parts.next()?)? })
}

/// The log of one process.
#[derive(Debug)]
pub struct Log(File);

impl Log {
    /// Opens the log at `path`, which is created.
    pub fn create(path: &Path) -> io::Result<Self> {
        OpenOptions::new().append(true).create_new(true).open(path).map(Self)
    }

    /// Writes a record.
    ///
    /// # Panics
    ///
    /// If it cannot be written: without a log there is nothing to check.
    pub fn write(&self, record: &Record) {
        let mut line = String::with_capacity(96);
        writeln!(line, "{record}").expect("a string takes what is written");
        // One write, so that the lines of several threads stay apart.
        (&self.0).write_all(line.as_bytes()).expect("the log can be written");
    }
}

/// Reads the log at `path`.
pub fn read(path: &Path) -> io::Result<Vec<Record>> {
    let text = std::fs::read_to_string(path)?;
    Ok(text
        .split_inclusive('\n')
        .filter_map(|line| Record::parse(line.strip_suffix('\n')?))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Vec<Record> {
        let row = Row { key: 3, version: 7, by: 12 };
        let answer = Answer { key: 3, row, given: Given::Stale };
        let fresh = Answer { given: Given::Fresh, ..answer };
        let keys = vec![(3, 7), (4, 0)];
        vec![
            Record::Begun { operation: 5, kind: Kind::Hard, begin: 1_000, keys },
            Record::Begun { operation: 6, kind: Kind::Get, begin: 1_001, keys: vec![] },
            Record::Ended { operation: 5, end: 9, outcome: Outcome::Failed, answers: vec![] },
            Record::Ended {
                operation: 6,
                end: 9,
                outcome: Outcome::Done,
                answers: vec![answer, fresh],
            },
            Record::Ended { operation: 7, end: 9, outcome: Outcome::HandedOver, answers: vec![] },
            Record::Creating { creation: 1, operation: 6, key: 3, begin: 4, version: 7 },
            Record::Created { creation: 1, end: 8 },
            Record::Halted { begin: 4, end: 6 },
            Record::NearHits(11),
        ]
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let log = Log::create(&path).unwrap();
        records().iter().for_each(|record| log.write(record));
        assert_eq!(read(&path).unwrap(), records());
    }

    #[test]
    fn half_a_line_is_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        std::fs::write(&path, "D 1 8\nE 6 9 do\nH 1 2\nD 1 8").unwrap();
        let read = read(&path).unwrap();
        assert_eq!(
            read,
            [Record::Created { creation: 1, end: 8 }, Record::Halted { begin: 1, end: 2 }]
        );
    }
}
