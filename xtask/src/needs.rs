//! What this project needs from the machine, besides Rust: one line per thing.

use crate::shell::which;
use clap::ValueEnum;
use std::path::Path;

/// Each verb asks for the groups it uses, and for no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Group {
    Build,
    Test,
    Demo,
    Vm,
    Bench,
    /// Hyperscan, in Python.
    Compare,
    Corpus,
}

/// How to see that it is there, whoever installed it.
#[derive(Clone, Copy)]
pub enum Proof {
    Program(&'static str),
    File(&'static str),
    /// A file below the compiler's library folder for this machine.
    Library(&'static str),
}

pub struct Need {
    pub groups: &'static [Group],
    pub proof: Proof,
    /// What Debian calls it.
    pub package: &'static str,
    pub why: &'static str,
}

use Group::{Bench, Build, Compare, Corpus, Demo, Test, Vm};
use Proof::{File, Library, Program};

pub const NEEDS: &[Need] = &[
    need(&[Build], Program("cc"), "gcc", "compiles SQLite and ring"),
    need(&[Build], Library("crt1.o"), "libc6-dev", "compiles SQLite and ring"),
    need(&[Test, Demo, Bench], Program("ip"), "iproute2", "makes the network that is not loopback"),
    need(&[Test, Demo, Bench], Program("curl"), "curl", "a client (OpenSSL)"),
    need(&[Test, Demo, Bench], Program("openssl"), "openssl", "a client, and test certificates"),
    need(&[Demo], Program("python3"), "python3", "the TLS server of the demo"),
    need(&[Test], Program("wget"), "wget", "a client (GnuTLS)"),
    need(&[Test], Program("nc"), "netcat-openbsd", "a client without TLS"),
    need(&[Test], File("/usr/bin/python3"), "python3", "a client (SSL_write_ex, memory BIOs)"),
    need(&[Test], File("/usr/lib/python3/dist-packages/requests"), "python3-requests", "a client"),
    need(&[Test], File("/usr/lib/python3/dist-packages/httpx"), "python3-httpx", "a client (HTTP/2)"),
    need(&[Test], File("/usr/lib/python3/dist-packages/h2"), "python3-h2", "its HTTP/2"),
    need(
        &[Test],
        File("/usr/lib/python3/dist-packages/websockets"),
        "python3-websockets",
        "a client (WebSocket)",
    ),
    need(&[Test], Program("git"), "git", "a client (packs), and its server"),
    need(&[Test], File("/usr/lib/postgresql"), "postgresql", "a server whose connections become TLS"),
    need(&[Test], Program("psql"), "postgresql-client", "its client"),
    need(&[Test], Program("node"), "nodejs", "a client (OpenSSL of its own, memory BIOs)"),
    need(&[Test], Library("libssl.a"), "libssl-dev", "a client with OpenSSL linked statically"),
    need(&[Test], Library("libgnutls.so"), "libgnutls28-dev", "a client for each GnuTLS call"),
    need(&[Test], Program("unshare"), "util-linux", "a client in another mount namespace"),
    need(&[Vm], Program("qemu-system-x86_64"), "qemu-system-x86", "the machine"),
    need(&[Vm], File("/usr/bin/busybox"), "busybox-static", "its first programs"),
    need(&[Vm], Program("depmod"), "kmod", "its kernel modules"),
    need(
        &[Vm, Compare],
        File("/var/lib/dpkg/info/python3-venv.list"),
        "python3-venv",
        "holds virtme-ng and Hyperscan",
    ),
    need(&[Test, Bench], Program("nginx"), "nginx-light", "a client and a server; the server under load"),
    need(&[Bench], Program("h2load"), "nghttp2-client", "the load"),
    need(&[Test, Corpus], Program("npm"), "npm", "a client; downloads packages to scan"),
    need(&[Test, Corpus], Program("pip3"), "python3-pip", "a client; downloads packages to scan"),
    need(&[Corpus], Program("git"), "git", "makes objects and packs to scan"),
];

const fn need(groups: &'static [Group], proof: Proof, package: &'static str, why: &'static str) -> Need {
    Need { groups, proof, package, why }
}

/// What these groups need and this machine has not.
pub fn missing(groups: &[Group]) -> Vec<&'static Need> {
    let wanted = NEEDS.iter().filter(|need| need.groups.iter().any(|group| groups.contains(group)));
    wanted.filter(|need| !need.proof.holds()).collect()
}

impl Proof {
    pub fn holds(self) -> bool {
        match self {
            Program(name) => which(name).is_some(),
            File(path) => Path::new(path).exists(),
            Library(name) => library_folders().iter().any(|folder| Path::new(folder).join(name).exists()),
        }
    }

    pub fn describe(self) -> String {
        match self {
            Program(name) => format!("the program {name}"),
            File(path) => path.to_owned(),
            Library(name) => format!("{name} for the C compiler"),
        }
    }
}

fn library_folders() -> [String; 4] {
    let multiarch = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    [multiarch, "/usr/lib64".into(), "/usr/lib".into(), "/usr/local/lib".into()]
}
