//! A second network: a namespace joined to this host by a veth pair. What goes there has left the host.

use crate::shell::{output, say, which};
use anyhow::{Context as _, Result};
use std::{net::Ipv4Addr, path::PathBuf, process::Command};

pub struct Network {
    ip: PathBuf,
    name: String,
    link: String,
    /// Where servers in it are reached.
    pub address: Ipv4Addr,
}

impl Network {
    pub fn new() -> Result<Self> {
        let ip = which("ip").context("ip (iproute2) is missing")?;
        let pid = std::process::id();
        let (name, link, peer) = (format!("keymoat-{pid}"), format!("kmxh{pid}"), format!("kmxn{pid}"));
        // One /30 of 198.18.0.0/15, which is reserved for tests.
        let [_, second, third, fourth] = (pid % 0x8000 * 4).to_be_bytes();
        let v4 = |end: u8| Ipv4Addr::new(198, 18 + second, third, fourth + end);
        let network = Self { ip, name, link, address: v4(2) };
        network.join(&peer, v4(1), v4(2)).context("cannot make a network namespace with a veth pair")?;
        Ok(network)
    }

    fn join(&self, peer: &str, here: Ipv4Addr, there: Ipv4Addr) -> Result<()> {
        let (name, link) = (self.name.as_str(), self.link.as_str());
        self.ip(&["netns", "add", name])?;
        self.ip(&["link", "add", link, "type", "veth", "peer", "name", peer, "netns", name])?;
        self.ip(&["addr", "add", &format!("{here}/30"), "dev", link])?;
        self.ip(&["link", "set", link, "up"])?;
        self.ip(&["-n", name, "addr", "add", &format!("{there}/30"), "dev", peer])?;
        self.ip(&["-n", name, "link", "set", peer, "up"])
    }

    /// A program that runs inside.
    pub fn command(&self, program: &str) -> Result<Command> {
        let mut command = Command::new(&self.ip);
        command.args(["netns", "exec", &self.name]);
        command.arg(which(program).with_context(|| format!("{program} is missing"))?);
        Ok(command)
    }

    fn ip(&self, args: &[&str]) -> Result<()> {
        output(Command::new(&self.ip).args(args)).map(drop)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The pair goes with its namespace, but only once that has no process left.
        let _ = self.ip(&["link", "del", &self.link]);
        if let Err(error) = self.ip(&["netns", "del", &self.name]) {
            say(format!("the network namespace {} stays behind: {error:#}", self.name));
        }
    }
}
