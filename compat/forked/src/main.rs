//! A program that uses regions over all backends, and forks while another of its threads is
//! creating in each of them: `forked FILE REDIS MEMCACHED`. The forked process forks once
//! more. All of them must go on, each by itself.
//!
//! The test with its servers and its limit is in `tests`.

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
fn main() {
    linux::main();
}

#[cfg(target_os = "linux")]
mod linux {
    use std::process::exit;
    use std::sync::{Arc, Barrier};
    use std::thread;
    use std::time::Duration;

    use dogpile::backend::{File, Memcached, Memory, Redis};
    use dogpile::blocking::shutdown;
    use dogpile::{Config, Region};
    use nix::errno::Errno;
    use nix::libc;
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, Pid, fork};

    /// The places of the servers and the file.
    struct Places {
        file: String,
        redis: String,
        memcached: String,
    }

    impl Places {
        fn open(&self) -> Vec<Arc<Region>> {
            vec![
                region("memory", Config::new(Memory::new(100))),
                region("file", Config::new(File::open(&self.file).expect("the file opens"))),
                region("redis", Config::new(Redis::open(&self.redis).expect("a URL"))),
                region("memcached", Config::new(Memcached::open(&self.memcached).expect("a URL"))),
            ]
        }
    }

    fn region(name: &'static str, config: Config) -> Arc<Region> {
        let region = Region::new(name);
        region.configure(config).expect("it is configured once");
        Arc::new(region)
    }

    /// Reads so often that a caller that is alone has a connection of its own.
    fn read_often(region: &Region) {
        for _ in 0..40 {
            let cached = region.blocking().get("cached").expect("it reads");
            assert_eq!(cached, Some(5_u32), "{}", region.name());
        }
    }

    /// Uses a region as if nothing had happened.
    fn use_all(region: &Region, who: &str) {
        let (name, blocking) = (region.name(), region.blocking());
        let key = |what: &str| format!("{what} of {who}");
        let created = blocking.entry(key("created")).strict().get_or_create(|| 1_u32);
        assert_eq!(created.expect("it creates"), 1, "{name}, {who}");
        blocking.set(&key("set"), &2_u32).expect("it stores");
        assert_eq!(blocking.get(&key("set")).expect("it reads"), Some(2_u32), "{name}, {who}");
        assert_eq!(blocking.get(&key("created")).expect("it reads"), Some(1_u32), "{name}, {who}");
        blocking.delete(&key("set")).expect("it deletes");
        assert_eq!(blocking.get::<u32>(&key("set")).expect("it reads"), None, "{name}, {who}");
    }

    /// A key that another thread of an ancestor is creating: nobody waits for that without
    /// end.
    fn ask_for_busy(region: &Region) {
        let limit = Duration::from_millis(200);
        let value = region.blocking().entry("busy").wait_timeout(limit).get_or_create(|| 7_u32);
        assert_eq!(value, 7, "{}", region.name());
    }

    /// The work of a forked process, with what it inherited and with backends of its own.
    fn child(places: &Places, regions: &[Arc<Region>], who: &str) {
        for region in regions {
            read_often(region);
            use_all(region, who);
            ask_for_busy(region);
        }
        for region in places.open() {
            use_all(&region, &format!("a new backend of {who}"));
        }
        let own = std::process::id();
        assert!(dogpile_lockers(&places.file).contains(&own), "{who} holds the file's locks");
    }

    /// The end of a process.
    fn end(who: &str) {
        assert!(shutdown(Duration::from_secs(5)), "{who} has nothing left to give up");
    }

    /// The processes with locks on the database, as the kernel has them.
    fn dogpile_lockers(file: &str) -> Vec<u32> {
        use std::os::unix::fs::MetadataExt;

        let inode = format!(":{} ", std::fs::metadata(file).expect("it is there").ino());
        let locks = std::fs::read_to_string("/proc/locks").expect("the kernel lists locks");
        let of_file = locks.lines().filter(|line| line.contains(&inode));
        of_file.filter_map(|line| line.split_whitespace().nth(4)?.parse().ok()).collect()
    }

    /// Forks without the C library, which runs none of its handlers then.
    #[allow(unsafe_code, reason = "see `in_fork`")]
    unsafe fn fork_unseen() -> nix::Result<ForkResult> {
        // SAFETY: the same as of `fork`, which the caller answers for; no pointer is passed.
        let child = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
        Ok(match i32::try_from(Errno::result(child)?).expect("the number of a process") {
            0 => ForkResult::Child,
            child => ForkResult::Parent { child: Pid::from_raw(child) },
        })
    }

    /// Forks, runs `work` in the child, and waits for its success.
    #[allow(unsafe_code, reason = "a fork is what this is about: the child uses the library")]
    fn in_fork(fork: unsafe fn() -> nix::Result<ForkResult>, work: impl FnOnce()) {
        // SAFETY: none of the other threads holds a lock that the child asks for: those of the
        // library wait for something to do, the others for a barrier.
        match unsafe { fork() }.expect("it forks") {
            ForkResult::Child => {
                let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
                exit(i32::from(done.is_err()));
            }
            ForkResult::Parent { child } => {
                let ended = waitpid(child, None).expect("it is a child");
                assert_eq!(ended, WaitStatus::Exited(child, 0));
            }
        }
    }

    pub(super) fn main() {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let [file, redis, memcached] = arguments.try_into().expect("three arguments");
        let places = Places { file, redis, memcached };
        let regions = places.open();
        for region in &regions {
            region.blocking().set("cached", &5_u32).expect("it stores");
            read_often(region);
            use_all(region, "the parent before");
        }
        // The creators begin, and do not end before the children have.
        let (begun, ends) = (Arc::new(Barrier::new(5)), Arc::new(Barrier::new(5)));
        let creators = regions.iter().map(|region| {
            let (region, begun, ends) = (region.clone(), begun.clone(), ends.clone());
            thread::spawn(move || {
                region.blocking().get_or_create("busy", || {
                    begun.wait();
                    ends.wait();
                    6_u32
                })
            })
        });
        let creators: Vec<_> = creators.collect();
        begun.wait();
        in_fork(fork, || {
            child(&places, &regions, "the child");
            in_fork(fork_unseen, || {
                child(&places, &regions, "the grandchild");
                end("the grandchild");
            });
            for region in &regions {
                use_all(region, "the child afterwards");
            }
            end("the child");
        });
        assert!(dogpile_lockers(&places.file).contains(&std::process::id()));
        for region in &regions {
            read_often(region);
            use_all(region, "the parent meanwhile");
            if region.name() != "memory" {
                let locked = region.blocking().key_is_locked("busy");
                assert!(locked.expect("it says"), "{}: the parent is creating", region.name());
            }
        }
        ends.wait();
        for (creator, region) in creators.into_iter().zip(&regions) {
            assert_eq!(creator.join().expect("it creates"), 6, "{}", region.name());
            assert_eq!(region.blocking().get("busy").expect("it reads"), Some(6_u32));
            use_all(region, "the parent after");
        }
        end("the parent");
    }
}
