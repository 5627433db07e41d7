//! What is mounted where keymoat runs: hosts differ, and this one can look like another.

use crate::env;
use std::process::Command;

/// Other mounts than this host's are in a mount namespace of their own: nobody else notices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mounts {
    /// Those of this host.
    #[default]
    Host,
    /// With tracefs: system calls can be watched.
    Tracefs,
    /// With tracefs and without cgroup v2: nothing but system calls can be watched.
    TracefsOnly,
    /// Without both.
    Neither,
}

const ADD_TRACEFS: &str =
    "[ -d /sys/kernel/tracing/events ] || mount -t tracefs tracefs /sys/kernel/tracing\n";
/// tracefs shows itself in debugfs, too. What is in use (as cgroup v2 always is) goes by `--lazy` only.
const REMOVE_CGROUP2: &str = "umount --all --lazy --types cgroup2\n";
const REMOVE_BOTH: &str = "umount --all --lazy --types cgroup2,tracefs,debugfs\n";

impl Mounts {
    /// `keymoat` where these are mounted. Its process id is that of whatever this command starts: each step becomes
    /// the next one.
    pub fn keymoat(self) -> Command {
        let keymoat = env::bin("keymoat", "keymoat-agent");
        let changes = match self {
            Self::Host => return Command::new(keymoat),
            Self::Tracefs => ADD_TRACEFS.to_owned(),
            Self::TracefsOnly => [REMOVE_CGROUP2, ADD_TRACEFS].concat(),
            Self::Neither => REMOVE_BOTH.to_owned(),
        };
        let mut command = Command::new(env::tool("unshare"));
        command.args(["--mount", "sh", "-euc", &format!("{changes} exec \"$@\""), "sh"]).arg(keymoat);
        command
    }
}
