//! Ports for servers.

use std::fs::{File, TryLockError};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// The lowest port that is given out.
const LOWEST: u16 = 15_000;

/// The ports that this process has been given. An open file holds the lock of one of them.
static GIVEN: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// Returns a port on which no server listens. It belongs to this process until that ends: no
/// later call returns it, in whichever process of this machine, and the kernel does not use it
/// for outgoing connections. A server can be killed and started again on it.
///
/// # Panics
///
/// When no port is free, or when the temporary directory cannot be written.
pub fn free_port() -> u16 {
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let ports = LOWEST..first_of_outgoing_connections();
    // Processes begin in different places, so that they seldom meet.
    let start = std::process::id() as usize * 97 % ports.len();
    let candidates = ports.clone().skip(start).chain(ports.clone().take(start));
    for port in candidates {
        let Some(lock) = reserve(port) else { continue };
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            given.push(lock);
            return port;
        }
    }
    panic!("no free port in {ports:?}");
}

/// Takes the lock of `port`, unless it is taken. The kernel frees it with the process.
fn reserve(port: u16) -> Option<File> {
    let path = locks().join(port.to_string());
    let file = File::create(path).expect("the temporary directory can be written");
    match file.try_lock() {
        Ok(()) => Some(file),
        Err(TryLockError::WouldBlock) => None,
        Err(TryLockError::Error(error)) => panic!("a lock on a port's file: {error}"),
    }
}

fn locks() -> PathBuf {
    let directory = std::env::temp_dir().join("dogpile-ports");
    std::fs::create_dir_all(&directory).expect("the temporary directory can be written");
    directory
}

/// Returns the first port that the kernel may use for a connection to another machine.
fn first_of_outgoing_connections() -> u16 {
    const USUAL: u16 = 32_768;
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let first = range.ok().and_then(|range| range.split_whitespace().next()?.parse().ok());
    first.filter(|first| *first > LOWEST + 1_000).unwrap_or(USUAL)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_port_is_given_twice() {
        let ports: HashSet<u16> = (0..50).map(|_| free_port()).collect();
        assert_eq!(ports.len(), 50);
        assert!(ports.iter().all(|port| *port < first_of_outgoing_connections()));
        let port = *ports.iter().next().unwrap();
        assert!(reserve(port).is_none(), "other processes cannot have it");
    }
}
