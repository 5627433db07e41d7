//! A second network: a namespace joined to the host by a veth pair, so that what clients send really leaves.
//!
//! Clients run on the host, servers live in the namespace: their sockets are made by a thread that entered it.

use crate::env;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::OnceLock;
use std::thread;

/// The namespace of this test process.
#[derive(Debug)]
pub struct Net {
    name: String,
    /// This host's own end, by name.
    pub link: String,
    /// Where servers are reached.
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
    /// This host's own end.
    pub host_v4: Ipv4Addr,
}

impl Net {
    /// The one network of this process, made on first use and removed when the process ends.
    pub fn shared() -> &'static Self {
        static NET: OnceLock<Net> = OnceLock::new();
        fn remove() {
            if let Some(net) = NET.get() {
                net.remove();
            }
        }
        NET.get_or_init(|| {
            sweep();
            env::at_exit(remove);
            Self::make()
        })
    }

    fn make() -> Self {
        let pid = std::process::id();
        let name = format!("{}{pid}", env::PREFIX);
        let (link, peer) = (format!("kmh{pid}"), format!("kmn{pid}"));
        // One of the 32,768 /30 networks of 198.18.0.0/15 (reserved for tests), one /64 of a local prefix.
        let index = pid % 0x8000;
        let [_, second, third, fourth] = (index * 4).to_be_bytes();
        let v4 = |end: u8| Ipv4Addr::new(198, 18 + second, third, fourth + end);
        let v6 = |end: u16| Ipv6Addr::new(0xfd6b, 0x6d74, index as u16, 0, 0, 0, 0, end);

        ip(&["netns", "add", &name]);
        ip(&["link", "add", &link, "type", "veth", "peer", "name", &peer, "netns", &name]);
        ip(&["addr", "add", &format!("{}/30", v4(1)), "dev", &link]);
        ip(&["-6", "addr", "add", &format!("{}/64", v6(1)), "dev", &link, "nodad"]);
        ip(&["link", "set", &link, "up"]);
        ip(&["-n", &name, "addr", "add", &format!("{}/30", v4(2)), "dev", &peer]);
        ip(&["-n", &name, "-6", "addr", "add", &format!("{}/64", v6(2)), "dev", &peer, "nodad"]);
        ip(&["-n", &name, "link", "set", "lo", "up"]);
        ip(&["-n", &name, "link", "set", &peer, "up"]);
        let net = Self { name, link, v4: v4(2), v6: v6(2), host_v4: v4(1) };
        // Servers take data in a SYN, where they ask for it too.
        net.inside(|| fs::write("/proc/sys/net/ipv4/tcp_fastopen", "3").expect("allow TCP fast open"));
        net
    }

    /// Runs `make` with this thread's new sockets belonging to the namespace.
    pub fn inside<T: Send>(&self, make: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| scope.spawn(|| self.enter(make)).join().expect("enter the namespace"))
    }

    fn enter<T>(&self, make: impl FnOnce() -> T) -> T {
        let namespace = File::open(format!("/run/netns/{}", self.name)).expect("open the namespace");
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("setns");
        make()
    }

    /// A listening socket for IPv4 and IPv6 on a free port.
    pub fn listen(&self) -> TcpListener {
        self.inside(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).expect("listen"))
    }

    /// A UDP socket for IPv4 and IPv6 on a free port.
    pub fn datagrams(&self) -> UdpSocket {
        self.inside(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).expect("bind"))
    }

    pub fn address6(&self, port: u16) -> SocketAddr {
        (IpAddr::V6(self.v6), port).into()
    }

    /// Whether `ip` is a server's address in this network.
    pub fn contains(&self, ip: IpAddr) -> bool {
        ip.to_canonical() == IpAddr::V4(self.v4) || ip == IpAddr::V6(self.v6)
    }

    /// A command that runs inside the namespace.
    pub fn command(&self, program: &std::path::Path) -> Command {
        let mut command = Command::new(env::tool("ip"));
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    fn remove(&self) {
        for args in [["link", "del", &self.link], ["netns", "del", &self.name]] {
            drop(Command::new(env::tool("ip")).args(args).output());
        }
    }
}

/// Removes namespaces of test processes that were killed.
fn sweep() {
    for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name();
        if let Some(name) = name.to_str().filter(|name| env::is_stale(name)) {
            drop(Command::new(env::tool("ip")).args(["netns", "del", name]).output());
        }
    }
}

fn ip(args: &[&str]) {
    let output = Command::new(env::tool("ip")).args(args).output().expect("run ip");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {}: {error} (the end-to-end tests need root)", args.join(" "));
}
