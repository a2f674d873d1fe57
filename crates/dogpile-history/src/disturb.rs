//! Disturbs processes, servers and connections while the workers work.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use dogpile_servers::MemcachedServer;
use dogpile_testkit::tcp::{Condition, Proxy};

use crate::check::Disturbance;
use crate::clock::{Moment, now};
use crate::fleet::Fleet;
use crate::plan::{Disturb, KEYS, LATENCY, LEASE, Plan};
use crate::random::Random;
use crate::servers::{Servers, Stage};

/// The time that the workers work on after the last disturbance.
const AFTER: Duration = Duration::from_secs(1);

/// Disturbs a run until its time is over.
pub(crate) struct Disturber<'p> {
    plan: &'p Plan,
    random: Random,
    until: Instant,
    /// The disturbances so far.
    pub(crate) done: Vec<Disturbance>,
    /// When masters were dead whose replicas took over.
    pub(crate) failovers: Vec<Moment>,
}

impl<'p> Disturber<'p> {
    pub(crate) fn new(plan: &'p Plan) -> Self {
        let (done, failovers) = (Vec::new(), Vec::new());
        let until = Instant::now() + plan.lasts;
        Self { plan, random: Random::new(plan.seed, u64::MAX), until, done, failovers }
    }

    /// Disturbs until the time is over, and heals what it has done.
    pub(crate) fn run(&mut self, fleet: &mut Fleet, stage: &mut Stage) -> io::Result<()> {
        if self.plan.disturb == Disturb::Slow {
            stage.set(Condition::Slow(LATENCY));
        }
        while Instant::now() < self.until {
            self.step(fleet, stage)?;
        }
        if self.plan.disturb == Disturb::Slow {
            stage.set(Condition::Normal);
        }
        if self.plan.disturb.breaks_things() {
            thread::sleep(AFTER);
        }
        Ok(())
    }

    /// Waits a little, then disturbs once.
    fn step(&mut self, fleet: &mut Fleet, stage: &mut Stage) -> io::Result<()> {
        let is_first = self.done.is_empty();
        let pause = match self.plan.disturb {
            Disturb::None | Disturb::Cancel | Disturb::Slow => Duration::MAX,
            Disturb::Kill | Disturb::HalfOpen | Disturb::Failover if is_first => {
                self.random.duration(500, 1_000)
            }
            Disturb::Kill => LEASE + self.random.duration(0, 500),
            Disturb::Cut => self.random.duration(200, 800),
            Disturb::HalfOpen => self.random.duration(1_500, 2_500),
            Disturb::TrackingCut => self.random.duration(20, 300),
            Disturb::TrackingHalfOpen => self.random.duration(500, 2_000),
            Disturb::Migrate => self.random.duration(20, 200),
            // Sentinels do not let the same master fail over twice in six seconds.
            Disturb::Failover => self.random.duration(6_500, 7_500),
            _ => self.random.duration(500, 1_000),
        };
        let left = self.until.saturating_duration_since(Instant::now());
        thread::sleep(pause.min(left));
        if pause >= left {
            return Ok(());
        }
        let begin = now();
        let process = self.disturb(fleet, stage)?;
        if self.plan.disturb.breaks_things() {
            self.done.push(Disturbance { process, begin, end: now() });
        }
        Ok(())
    }

    /// Disturbs once; the process, if it concerns only one.
    fn disturb(&mut self, fleet: &mut Fleet, stage: &mut Stage) -> io::Result<Option<u64>> {
        match self.plan.disturb {
            Disturb::None | Disturb::Cancel | Disturb::Slow => {}
            Disturb::Stop => {
                let index = self.random.index(fleet.len());
                fleet.stop(index)?;
                thread::sleep(LEASE + self.random.duration(200, 1_000));
                fleet.resume(index)?;
                return Ok(Some(fleet.process(index)));
            }
            Disturb::Kill => {
                let index = self.random.index(fleet.len());
                let process = fleet.process(index);
                fleet.replace(index)?;
                return Ok(Some(process));
            }
            Disturb::ServerStop => self.stop_server(stage),
            Disturb::ServerAway => self.take_server_away(stage),
            Disturb::Cut => self.cut(stage),
            Disturb::HalfOpen => stage.proxies.iter().for_each(Proxy::abandon),
            Disturb::TrackingCut => stage.kill_tracking(),
            Disturb::TrackingHalfOpen => {
                stage.proxies.iter().for_each(|proxy| proxy.abandon_asking(b"TRACKING"));
            }
            Disturb::Partition => return Ok(self.hold_back(fleet, stage)),
            Disturb::Failover => self.fail_over(stage),
            Disturb::Migrate => migrate(stage, &mut self.random),
        }
        Ok(None)
    }

    fn stop_server(&mut self, stage: &Stage) {
        let lasts = self.random.duration(300, 1_500);
        match &stage.servers {
            Servers::Redis(server) => {
                server.pause();
                thread::sleep(lasts);
                server.resume();
            }
            Servers::Memcached(servers) => {
                let server = &servers[self.random.index(servers.len())];
                server.pause();
                thread::sleep(lasts);
                server.resume();
            }
            _ => {}
        }
    }

    fn take_server_away(&mut self, stage: &mut Stage) {
        let lasts = self.random.duration(100, 1_000);
        match &mut stage.servers {
            Servers::Redis(server) => {
                server.kill();
                thread::sleep(lasts);
                server.restart();
            }
            Servers::Memcached(servers) => {
                // The moment of an invalidation lies on one server only.
                let one = self.random.index(servers.len());
                let chosen = if self.plan.change.is_of_the_region() {
                    0..servers.len()
                } else {
                    one..one + 1
                };
                servers[chosen.clone()].iter_mut().for_each(MemcachedServer::kill);
                thread::sleep(lasts);
                servers[chosen].iter_mut().for_each(MemcachedServer::restart);
            }
            _ => {}
        }
    }

    fn cut(&mut self, stage: &Stage) {
        stage.set(Condition::Cut);
        thread::sleep(self.random.duration(0, 50));
        stage.set(Condition::Normal);
    }

    /// Holds one proxy's connections back; the process whose proxy it is, if it is one's alone.
    fn hold_back(&mut self, fleet: &Fleet, stage: &Stage) -> Option<u64> {
        let index = self.random.index(stage.proxies.len());
        stage.proxies[index].set(Condition::Held);
        thread::sleep(self.random.duration(200, 900));
        stage.proxies[index].set(Condition::Normal);
        (stage.places.len() > 1).then(|| fleet.process(index))
    }

    fn fail_over(&mut self, stage: &mut Stage) {
        match &mut stage.servers {
            Servers::Sentinels(servers) => {
                servers.kill_master();
                self.failovers.push(now());
                servers.revive();
            }
            Servers::Cluster(cluster) => {
                let killed = cluster.kill_master(self.random.index(3));
                self.failovers.push(now());
                cluster.revive(killed);
            }
            _ => {}
        }
    }
}

fn migrate(stage: &Stage, random: &mut Random) {
    if let Servers::Cluster(cluster) = &stage.servers {
        let key = random.index(KEYS);
        cluster.move_slot_of(&format!("row-{key}"), random.index(3));
    }
}
