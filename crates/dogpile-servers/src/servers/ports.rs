//! Ports for servers.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::{Mutex, PoisonError};

/// The lowest port that is given out.
const LOWEST: u16 = 15_000;

/// The ports that this process has been given. An abstract socket stands for each.
static GIVEN: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());

/// Returns a port on which no server listens. It belongs to this process until that ends: no
/// later call returns it, in whichever process of this machine, and the kernel does not use it
/// for outgoing connections. A server can be killed and started again on it.
///
/// # Panics
///
/// When no port is free.
pub fn free_port() -> u16 {
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let ports = LOWEST..first_of_outgoing_connections();
    // Processes begin in different places, so that they seldom meet.
    let start = std::process::id() as usize * 97 % ports.len();
    let candidates = ports.clone().skip(start).chain(ports.clone().take(start));
    for port in candidates {
        let Some(reserved) = reserve(port) else { continue };
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            given.push(reserved);
            return port;
        }
    }
    panic!("no free port in {ports:?}");
}

/// Takes the name of `port`, unless another process has it. The kernel frees it with the
/// process.
fn reserve(port: u16) -> Option<UnixListener> {
    let name = SocketAddr::from_abstract_name(format!("dogpile-port-{port}"));
    UnixListener::bind_addr(&name.expect("the name is short")).ok()
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
