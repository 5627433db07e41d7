//! Refusing. The kernel decides, inside the write; this is what it is told to decide by ([`verdicts`]), what the agent makes of
//! what left and what did not ([`judgement`]), and the exceptions a user makes while it runs ([`exceptions`]);
//! [`enforcer`] keeps them in step; what still waits to be sent is [`unsent`]. [`ladder`] chooses what refuses TLS writes, [`detour`] is the agent's half of
//! `return-override`.

pub mod detour;
pub mod enforcer;
pub mod exceptions;
pub mod hang_up;
pub mod judgement;
pub mod ladder;
pub mod lone;
pub mod unsent;
pub mod verdicts;

use serde::{Deserialize, Serialize};

/// How a write is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// TLS: the call fails, nothing was encrypted, and the connection goes on.
    ReturnOverride,
    /// TCP, TLS or not: the write fails with EACCES, and so does every later one on that connection.
    SkMsg,
    /// TLS: the process is killed before the call runs.
    Signal,
    /// Datagrams: the call fails with EPERM. Not to be chosen: nothing else refuses them.
    #[serde(skip_deserializing)]
    #[value(skip)]
    CgroupSkb,
    /// Sockets whose packets pass neither: they are not made (EPERM). In `strict` mode; not to be chosen.
    #[serde(skip_deserializing)]
    #[value(skip)]
    Lsm,
}

impl Method {
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReturnOverride => "return-override",
            Self::SkMsg => "sk-msg",
            Self::Signal => "signal",
            Self::CgroupSkb => "cgroup-skb",
            Self::Lsm => "lsm",
        }
    }

    /// Is a TCP connection dead on which this refused something?
    pub const fn ends_the_connection(self) -> bool {
        matches!(self, Self::SkMsg | Self::CgroupSkb)
    }
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
