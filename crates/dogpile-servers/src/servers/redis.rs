//! Redis: a server, a master with replica and sentinels, a cluster. Each of them can be
//! Valkey's instead.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::ports::free_port;
use super::process::{Server, scratch, wait_until};
use dogpile_testkit::tcp::Proxy;

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// Returns the program that all these servers run: the `valkey-server` whose absolute path
/// the variable `DOGPILE_VALKEY_SERVER` holds, or else `redis-server`.
fn program() -> String {
    std::env::var("DOGPILE_VALKEY_SERVER").unwrap_or_else(|_| "redis-server".to_owned())
}

/// Sends one inline command and returns what comes back at first.
fn ask(port: u16, command: &str) -> String {
    let asked = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(format!("{command}\r\n").as_bytes())?;
        let mut answer = vec![0; 64 * 1024];
        let length = stream.read(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
    };
    asked().unwrap_or_default()
}

/// Returns the number of times that the server at `port` has carried out the command `name`, in lower case.
fn count_commands(port: u16, name: &str) -> u64 {
    let stats = ask(port, "INFO commandstats");
    let line = stats.split_once(&format!("cmdstat_{name}:calls="));
    line.and_then(|(_, line)| line.split(',').next()?.parse().ok()).unwrap_or(0)
}

/// A single server without persistence.
#[derive(Debug)]
pub struct RedisServer {
    server: Server,
    port: u16,
    socket: PathBuf,
}

impl RedisServer {
    /// Starts one.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts one with more options of its program.
    pub fn with(options: &[&str]) -> Self {
        let port = free_port();
        let socket = scratch().join(format!("redis-{port}.sock"));
        let mut command = words(&[&program(), "--save", "", "--port"]);
        command.extend([port.to_string(), "--unixsocket".into(), socket.display().to_string()]);
        command.extend(words(options));
        let server = Server::start(command, || ask(port, "PING").contains("PONG"));
        Self { server, port, socket }
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its URL by the socket.
    pub fn socket_url(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// Sends one inline command without quoting; the raw answer.
    pub fn ask(&self, command: &str) -> String {
        ask(self.port, command)
    }

    /// Ends the connections on which it tells of changed keys.
    pub fn kill_tracking(&self) {
        for client in self.ask("CLIENT LIST").lines() {
            let field = |name: &str| client.split(' ').find_map(|field| field.strip_prefix(name));
            if let (Some(flags), Some(id)) = (field("flags="), field("id="))
                && flags.contains('t')
            {
                self.ask(&format!("CLIENT KILL ID {id}"));
            }
        }
    }

    /// Returns the number of connections on which it is asked, but for those on which it tells of
    /// changed keys.
    pub fn count_askers(&self) -> usize {
        let clients = self.ask("CLIENT LIST");
        let asks = |client: &&str| client.contains(" flags=N ") && !client.contains("cmd=client");
        clients.lines().filter(asks).count()
    }

    /// Returns whether it is a Valkey.
    pub fn is_valkey(&self) -> bool {
        self.ask("INFO server").contains("valkey_version:")
    }

    /// Returns the number of times that it has carried out the command `name`, in lower case.
    pub fn count_commands(&self, name: &str) -> u64 {
        count_commands(self.port, name)
    }

    /// Ends it as a power failure does.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Starts it again, empty, on the same port.
    pub fn restart(&mut self) {
        self.server.kill();
        let port = self.port;
        self.server.launch(|| ask(port, "PING").contains("PONG"));
    }

    /// Stops it: it is there, and does not answer.
    pub fn pause(&self) {
        self.server.pause();
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.server.resume();
    }
}

/// Certificates made for a test: an authority, and what it signed for the
/// server at 127.0.0.1 and for a client.
#[derive(Debug)]
pub struct Tls {
    directory: tempfile::TempDir,
}

impl Default for Tls {
    fn default() -> Self {
        Self::new()
    }
}

impl Tls {
    /// Makes them, with `openssl`.
    pub fn new() -> Self {
        let directory = tempfile::TempDir::new().expect("there is a temporary directory");
        let tls = Self { directory };
        let run = |arguments: &str| {
            let mut command = Command::new("openssl");
            command.args(arguments.split(' ')).current_dir(tls.directory.path());
            let output = command.output().expect("openssl is installed");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        run("req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=test");
        fs::write(tls.path("names"), "subjectAltName=IP:127.0.0.1\n").expect("it can be written");
        for name in ["server", "client"] {
            run(&format!(
                "req -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}"
            ));
            run(&format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial \
                 -out {name}.pem -days 2 -extfile names"
            ));
        }
        tls
    }

    /// The path of `ca.pem`, `client.pem`, `client.key` and so on.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The content of such a file.
    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).expect("it was made")
    }

    /// The options of a server that speaks TLS on `port` and wants clients'
    /// certificates.
    pub fn options(&self, port: u16) -> Vec<String> {
        let path = |name: &str| self.path(name).display().to_string();
        vec![
            "--tls-port".into(),
            port.to_string(),
            "--tls-cert-file".into(),
            path("server.pem"),
            "--tls-key-file".into(),
            path("server.key"),
            "--tls-ca-cert-file".into(),
            path("ca.pem"),
        ]
    }
}

/// A master with one replica, watched by three sentinels, under the name
/// `main`.
#[derive(Debug)]
pub struct RedisSentinels {
    servers: [RedisServer; 2],
    sentinels: Vec<(Server, u16)>,
}

impl RedisSentinels {
    /// Starts them. Failover begins after half a second without an answer.
    pub fn start() -> Self {
        let master = RedisServer::start();
        let port = master.port();
        let replica = RedisServer::with(&["--replicaof", &format!("127.0.0.1 {port}")]);
        wait_until("the replica", || ask(port, "INFO replication").contains("state=online"));
        Self::watched([master, replica], port)
    }

    /// Starts them with a proxy before the master and one before the replica, which all
    /// others are told to use.
    pub fn start_behind_proxies() -> (Self, Vec<Proxy>) {
        let master = RedisServer::start();
        let replica = RedisServer::start();
        let proxies = [&master, &replica].map(|server| Proxy::to(server.port()));
        let [before_master, before_replica] = [0, 1].map(|number| proxies[number].port());
        replica.ask(&format!("CONFIG SET replica-announce-port {before_replica}"));
        replica.ask(&format!("REPLICAOF 127.0.0.1 {before_master}"));
        wait_until("the replica", || master.ask("INFO replication").contains("state=online"));
        (Self::watched([master, replica], before_master), proxies.into())
    }

    /// Starts the sentinels of a master that they reach at `port`.
    fn watched(servers: [RedisServer; 2], port: u16) -> Self {
        let sentinels = (0..3).map(|_| start_sentinel(port)).collect();
        let all = Self { servers, sentinels };
        let knows = |&(_, port): &(Server, u16)| {
            let known = ask(port, "SENTINEL MASTER main");
            let after = |name: &str| known.split(name).nth(1)?.lines().nth(2).map(str::to_owned);
            after("num-slaves").as_deref() == Some("1")
                && after("num-other-sentinels").as_deref() == Some("2")
        };
        wait_until("the sentinels", || all.sentinels.iter().all(knows));
        all
    }

    /// The URL that names them all.
    pub fn url(&self) -> String {
        let ports: Vec<String> =
            self.sentinels.iter().map(|(_, port)| format!("127.0.0.1:{port}")).collect();
        format!("redis+sentinel://{}/main", ports.join(","))
    }

    /// Ends the connections on which they tell of changed keys.
    pub fn kill_tracking(&self) {
        self.servers.iter().for_each(RedisServer::kill_tracking);
    }

    /// Kills the present master; the other server takes over.
    pub fn kill_master(&mut self) {
        let port = self.master_port();
        for server in &mut self.servers {
            if server.port() == port {
                server.kill();
            }
        }
    }

    /// Waits until the other server has taken over from a killed master, and starts the
    /// killed one again, empty, as its replica.
    pub fn revive(&mut self) {
        let is_dead = |server: &RedisServer| !server.ask("PING").contains("PONG");
        let Some(dead) = self.servers.iter().position(is_dead) else { return };
        let master = self.servers[1 - dead].port();
        wait_until("the new master", || {
            self.master_port() == master && ask(master, "ROLE").contains("master")
        });
        let replica = &mut self.servers[dead];
        replica.restart();
        let follow = format!("REPLICAOF 127.0.0.1 {master}");
        wait_until("the replica", || {
            // Sentinels that have not heard of its end may still take it for a master.
            let role = replica.ask("ROLE");
            if !role.contains(&format!("\r\n:{master}\r\n")) {
                replica.ask(&follow);
            }
            role.contains("\r\nconnected\r\n")
        });
    }

    /// The port of the master, as the first sentinel knows it.
    pub fn master_port(&self) -> u16 {
        let answer = ask(self.sentinels[0].1, "SENTINEL GET-MASTER-ADDR-BY-NAME main");
        let port = answer.lines().rfind(|line| line.chars().all(|c| c.is_ascii_digit()));
        port.and_then(|port| port.parse().ok()).expect("the sentinel knows the master")
    }
}

fn start_sentinel(master: u16) -> (Server, u16) {
    let port = free_port();
    let config = scratch().join(format!("sentinel-{port}.conf"));
    let text = format!(
        "port {port}\nsentinel monitor main 127.0.0.1 {master} 2\n\
         sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n"
    );
    fs::write(&config, text).expect("there is a temporary directory");
    let command = vec![program(), config.display().to_string(), "--sentinel".into()];
    (Server::start(command, || ask(port, "PING").contains("PONG")), port)
}

/// Three masters with a replica each.
#[derive(Debug)]
pub struct RedisCluster {
    servers: Vec<RedisServer>,
    /// The addresses for clients.
    ports: Vec<u16>,
}

impl RedisCluster {
    /// Starts it.
    pub fn start() -> Self {
        let servers: Vec<RedisServer> = (0..6).map(|_| start_node()).collect();
        let ports = servers.iter().map(RedisServer::port).collect();
        Self::of(servers, ports)
    }

    /// Starts it with a proxy before each node, which all others are told to use.
    pub fn start_behind_proxies() -> (Self, Vec<Proxy>) {
        let servers: Vec<RedisServer> = (0..6).map(|_| start_node()).collect();
        let before = |server: &RedisServer| {
            let proxy = Proxy::to(server.port());
            server.ask(&format!("CONFIG SET cluster-announce-port {}", proxy.port()));
            proxy
        };
        let proxies: Vec<Proxy> = servers.iter().map(before).collect();
        let ports = proxies.iter().map(Proxy::port).collect();
        (Self::of(servers, ports), proxies)
    }

    /// Makes a cluster of `servers` that are reached at `ports`.
    fn of(servers: Vec<RedisServer>, ports: Vec<u16>) -> Self {
        let nodes: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let created = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(&nodes)
            .args(["--cluster-replicas", "1", "--cluster-yes"])
            .output()
            .expect("redis-cli is installed");
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stdout));
        let agrees = |server: &RedisServer| {
            let info = server.ask("CLUSTER INFO");
            // Replicas are among them once they have had something of their masters.
            let serving = server.ask("CLUSTER SLOTS");
            info.contains("cluster_state:ok")
                && info.contains("cluster_known_nodes:6")
                && ports.iter().all(|port| serving.contains(&format!(":{port}\r")))
        };
        wait_until("the cluster", || servers.iter().all(agrees));
        Self { servers, ports }
    }

    /// The nodes that are masters now.
    fn masters(&self) -> Vec<usize> {
        let is_master = |node: &usize| self.servers[*node].ask("ROLE").contains("$6\r\nmaster");
        (0..self.servers.len()).filter(is_master).collect()
    }

    /// Waits until the masters agree on who has which slots, and since when.
    ///
    /// A node that has not heard of the last move may give itself an age that another has
    /// too, take an old message for a newer claim, and delete what is in the slot.
    fn agree(&self, masters: &[usize]) {
        wait_until("agreement on slots", || {
            let mut views = masters.iter().map(|node| slots_of(&self.servers[*node]));
            let first = views.next();
            views.all(|view| Some(&view) == first.as_ref())
        });
    }

    /// Moves the slot of `key` to the master number `to`, with what is in it, while the
    /// cluster serves.
    pub fn move_slot_of(&self, key: &str, to: usize) {
        let slot = self.servers[0].ask(&format!("CLUSTER KEYSLOT {key}"));
        let slot = slot.trim_start_matches(':').trim().to_owned();
        let masters = self.masters();
        self.agree(&masters);
        let is_there = |node: &&usize| {
            let answer = self.servers[**node].ask(&format!("CLUSTER COUNTKEYSINSLOT {slot}"));
            let owned = self.servers[**node].ask("CLUSTER NODES");
            let own = owned.lines().find(|line| line.contains("myself")).unwrap_or_default();
            answer.starts_with(':') && has_slot(own, &slot)
        };
        let Some(&from) = masters.iter().find(is_there) else { return };
        let to = masters[to % masters.len()];
        if from == to {
            return;
        }
        let id = |node: usize| {
            let id = self.servers[node].ask("CLUSTER MYID");
            id.lines().nth(1).unwrap_or_default().trim().to_owned()
        };
        let (from_id, to_id) = (id(from), id(to));
        self.servers[to].ask(&format!("CLUSTER SETSLOT {slot} IMPORTING {from_id}"));
        self.servers[from].ask(&format!("CLUSTER SETSLOT {slot} MIGRATING {to_id}"));
        loop {
            let keys = self.servers[from].ask(&format!("CLUSTER GETKEYSINSLOT {slot} 100"));
            let keys: Vec<&str> = keys.lines().skip(2).step_by(2).collect();
            if keys.is_empty() {
                break;
            }
            let (port, keys) = (self.servers[to].port(), keys.join(" "));
            self.servers[from].ask(&format!("MIGRATE 127.0.0.1 {port} \"\" 0 5000 KEYS {keys}"));
        }
        for node in [to, from].into_iter().chain(masters) {
            self.servers[node].ask(&format!("CLUSTER SETSLOT {slot} NODE {to_id}"));
        }
    }

    /// Kills the master number `number` of those there are now, and returns the node; its
    /// replica takes over.
    pub fn kill_master(&mut self, number: usize) -> usize {
        let masters = self.masters();
        let node = masters[number % masters.len()];
        self.servers[node].kill();
        node
    }

    /// Waits until the replica of the killed node has taken over, and starts that node again,
    /// empty, as its replica.
    pub fn revive(&mut self, node: usize) {
        let serves = |server: &RedisServer| server.ask("CLUSTER INFO").contains("state:ok");
        let others = || (0..self.servers.len()).filter(|other| *other != node);
        wait_until("the new master", || {
            self.masters().len() == 3 && others().all(|other| serves(&self.servers[other]))
        });
        self.servers[node].restart();
        wait_until("the replica", || {
            let is_replica = self.servers[node].ask("INFO replication");
            is_replica.contains("role:slave") && is_replica.contains("master_link_status:up")
        });
    }

    /// Ends the connections on which they tell of changed keys.
    pub fn kill_tracking(&self) {
        self.servers.iter().for_each(RedisServer::kill_tracking);
    }

    /// Returns the number of times that all nodes have carried out the command `name`, in lower case.
    pub fn count_commands(&self, name: &str) -> u64 {
        self.servers.iter().map(|server| server.count_commands(name)).sum()
    }

    /// The same of the nodes that were made replicas.
    pub fn count_commands_of_replicas(&self, name: &str) -> u64 {
        self.servers[3..].iter().map(|server| server.count_commands(name)).sum()
    }

    /// The URL that names all nodes.
    pub fn url(&self) -> String {
        let nodes: Vec<String> =
            self.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        format!("redis+cluster://{}", nodes.join(","))
    }
}

/// The slots of each master, and their age, as `server` sees them: the masters' lines of
/// `CLUSTER NODES`, without what changes by itself.
fn slots_of(server: &RedisServer) -> Vec<String> {
    let nodes = server.ask("CLUSTER NODES");
    let masters = nodes.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let masters = masters.filter(|words| words.len() > 7 && words[2].contains("master"));
    let mut slots: Vec<String> = masters
        .map(|words| {
            let owned = words[8..].iter().filter(|range| !range.starts_with('['));
            let owned: Vec<&str> = owned.copied().collect();
            format!("{} {} {}", words[0], words[6], owned.join(" "))
        })
        .collect();
    slots.sort();
    slots
}

/// Does the line of `CLUSTER NODES` say that its node has `slot`?
fn has_slot(line: &str, slot: &str) -> bool {
    let Ok(slot) = slot.parse::<u32>() else { return false };
    line.split_whitespace().skip(8).any(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let bounds = first.parse::<u32>().ok().zip(last.parse::<u32>().ok());
        bounds.is_some_and(|(first, last)| (first..=last).contains(&slot))
    })
}

fn start_node() -> RedisServer {
    let bus = free_port().to_string();
    RedisServer::with(&[
        "--cluster-enabled",
        "yes",
        "--cluster-node-timeout",
        "2000",
        "--repl-ping-replica-period",
        "1",
        "--cluster-port",
        &bus,
    ])
}
