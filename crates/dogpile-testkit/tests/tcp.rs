//! The proxy before a server that returns what it is sent.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use dogpile_testkit::tcp::{Condition, Proxy};

/// Starts a server and a proxy before it.
fn echo() -> Proxy {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
    Proxy::to(port)
}

fn connect(proxy: &Proxy) -> TcpStream {
    TcpStream::connect(("127.0.0.1", proxy.port())).unwrap()
}

/// Returns all that comes back of `sent`, until it is whole or the connection ends.
fn echoed(mut stream: &TcpStream, sent: &[u8]) -> Vec<u8> {
    let mut came = Vec::new();
    let mut buffer = [0; 64];
    // A connection that has ended may be reset.
    if stream.write_all(sent).is_err() {
        return came;
    }
    while came.len() < sent.len() {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(length) => came.extend_from_slice(&buffer[..length]),
        }
    }
    came
}

#[test]
fn bytes_pass_in_fair_weather_and_requests_are_counted() {
    let proxy = echo();
    let client = connect(&proxy);
    assert_eq!(echoed(&client, b"one"), b"one");
    assert_eq!(echoed(&client, b"two"), b"two");
    assert_eq!(proxy.requests(), 2);
}

#[test]
fn a_corrupt_answer_is_as_long_and_another() {
    let proxy = echo();
    let client = connect(&proxy);
    proxy.set(Condition::Corrupt);
    let came = echoed(&client, b"hello");
    assert_eq!(came.len(), 5);
    assert_ne!(came, b"hello");
    proxy.set(Condition::Normal);
    assert_eq!(echoed(&client, b"hello"), b"hello", "the same connection goes on");
}

#[test]
fn a_cut_ends_open_connections_and_new_ones() {
    let proxy = echo();
    let client = connect(&proxy);
    assert_eq!(echoed(&client, b"before"), b"before");
    proxy.set(Condition::Cut);
    assert_eq!(echoed(&client, b"after"), b"");
    assert_eq!(echoed(&connect(&proxy), b"after"), b"");
    proxy.set(Condition::Normal);
    assert_eq!(echoed(&connect(&proxy), b"again"), b"again");
}

#[test]
fn an_answer_can_come_in_part_or_not_at_all() {
    let proxy = echo();
    proxy.set(Condition::CutShort);
    assert_eq!(echoed(&connect(&proxy), b"hello!"), b"hel");
    proxy.set(Condition::AnswerLost(b"set"));
    let client = connect(&proxy);
    assert_eq!(echoed(&client, b"get"), b"get", "another request");
    assert_eq!(echoed(&client, b"set"), b"");
    assert_eq!(echoed(&connect(&proxy), b"set"), b"set", "it happens once");
}

#[test]
fn bytes_are_held_until_the_weather_changes() {
    let proxy = echo();
    let client = connect(&proxy);
    proxy.set(Condition::Held);
    (&client).write_all(b"late").unwrap();
    client.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut came = [0; 4];
    let waited = (&client).read(&mut came).unwrap_err();
    assert!(matches!(waited.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
    client.set_read_timeout(None).unwrap();
    proxy.set(Condition::Normal);
    (&client).read_exact(&mut came).unwrap();
    assert_eq!(&came, b"late");
}

#[test]
fn abandoned_connections_are_silent_and_new_ones_are_good() {
    let proxy = echo();
    let abandoned = connect(&proxy);
    assert_eq!(echoed(&abandoned, b"before"), b"before");
    proxy.abandon();
    abandoned.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert_eq!(echoed(&abandoned, b"after"), b"");
    abandoned.set_nonblocking(true).unwrap();
    let silent = (&abandoned).read(&mut [0]).unwrap_err();
    assert_eq!(silent.kind(), ErrorKind::WouldBlock, "it is open");
    assert_eq!(echoed(&connect(&proxy), b"new"), b"new");
}

#[test]
fn those_connections_alone_are_abandoned_that_have_asked_for_something() {
    let proxy = echo();
    let [meant, other] = [(); 2].map(|()| connect(&proxy));
    assert_eq!(echoed(&meant, b"please track"), b"please track");
    assert_eq!(echoed(&other, b"before"), b"before");
    proxy.abandon_asking(b"track");
    meant.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert_eq!(echoed(&meant, b"after"), b"");
    assert_eq!(echoed(&other, b"track"), b"track");
    assert_eq!(echoed(&connect(&proxy), b"track"), b"track", "it asks later");
}
