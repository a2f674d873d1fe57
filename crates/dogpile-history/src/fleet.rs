//! The worker processes, seen from outside.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::clock::{Moment, now};
use crate::plan::{Job, Place};
use crate::worker::{GO, READY};

/// The time that the workers have for their last calls, and what they do after them.
const PATIENCE: Duration = Duration::from_secs(30);

/// A worker process.
struct Member {
    process: u64,
    child: Child,
    input: ChildStdin,
}

/// The workers of a run.
pub(crate) struct Fleet {
    program: PathBuf,
    /// The orders of each worker, but for its number and place.
    job: Job,
    /// How the workers reach the cache, each in its turn.
    places: Vec<Place>,
    members: Vec<Member>,
    /// The number of processes.
    count: u64,
    /// When those were killed that were.
    pub(crate) killed: HashMap<u64, Moment>,
}

impl Fleet {
    /// Starts the workers that `job` speaks of, and lets them begin at once.
    pub(crate) fn start(program: PathBuf, job: Job, places: Vec<Place>) -> io::Result<Self> {
        let (members, killed) = (Vec::new(), HashMap::new());
        let mut fleet = Self { program, job, places, members, count: 0, killed };
        for index in 0..fleet.job.workers {
            let member = fleet.launch(index)?;
            fleet.members.push(member);
        }
        fleet.members.iter_mut().try_for_each(Member::go)?;
        Ok(fleet)
    }

    fn launch(&mut self, index: usize) -> io::Result<Member> {
        self.count += 1;
        let place = self.places[index % self.places.len()].clone();
        let job = Job { process: self.count, index, place, ..self.job.clone() };
        let mut child = spawn(&self.program, &job)?;
        let input = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let output = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        if line.trim() != READY {
            return Err(io::Error::other("a worker failed to start"));
        }
        Ok(Member { process: job.process, child, input })
    }

    /// Returns how many workers there are.
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// Returns the number of the process of the worker `index`.
    pub(crate) fn process(&self, index: usize) -> u64 {
        self.members[index].process
    }

    /// Returns the numbers of all processes that there were.
    pub(crate) fn processes(&self) -> impl Iterator<Item = u64> + use<> {
        1..=self.count
    }

    /// Stops the worker `index` in the middle of whatever it does.
    pub(crate) fn stop(&self, index: usize) -> io::Result<()> {
        self.members[index].signal(Signal::STOP)
    }

    /// Lets the worker `index` go on.
    pub(crate) fn resume(&self, index: usize) -> io::Result<()> {
        self.members[index].signal(Signal::CONT)
    }

    /// Kills the worker `index`, and puts another into its place.
    pub(crate) fn replace(&mut self, index: usize) -> io::Result<()> {
        let member = &mut self.members[index];
        member.child.kill()?;
        member.child.wait()?;
        self.killed.insert(member.process, now());
        self.members[index] = self.launch(index)?;
        self.members[index].go()
    }

    /// Tells all workers to stop, and waits for their ends.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        for member in &mut self.members {
            writeln!(member.input, "stop")?;
        }
        let limit = Instant::now() + PATIENCE;
        for member in &mut self.members {
            let status = loop {
                if let Some(status) = member.child.try_wait()? {
                    break status;
                }
                if Instant::now() > limit {
                    return Err(io::Error::other("a worker does not end"));
                }
                thread::sleep(Duration::from_millis(5));
            };
            if !status.success() {
                return Err(io::Error::other(format!("a worker failed: {status}")));
            }
        }
        Ok(())
    }

    /// Lets a new process look at what is left.
    pub(crate) fn look(&mut self) -> io::Result<()> {
        self.count += 1;
        let job = Job { process: self.count, tasks: 0, ..self.job.clone() };
        let status = spawn(&self.program, &job)?.wait()?;
        if status.success() { Ok(()) } else { Err(io::Error::other("a look failed")) }
    }
}

fn spawn(program: &PathBuf, job: &Job) -> io::Result<Child> {
    let job = serde_json::to_string(job)?;
    let mut command = Command::new(program);
    command.args(["worker", &job]).stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn()
}

impl Member {
    fn go(&mut self) -> io::Result<()> {
        writeln!(self.input, "{GO}")
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        kill_process(Pid::from_child(&self.child), signal).map_err(io::Error::from)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
