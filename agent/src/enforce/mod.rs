//! Refusing. The kernel decides, inside the write; this is what it is told to decide by ([`verdicts`]), what the agent makes of
//! what left and what did not ([`judgement`]), and the exceptions a user makes while it runs ([`exceptions`]);
//! [`enforcer`] keeps them in step.

pub mod enforcer;
pub mod exceptions;
pub mod hang_up;
pub mod judgement;
pub mod verdicts;

use serde::Serialize;

/// How a write is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// TCP, TLS or not: the write fails with EACCES, and so does every later one on that connection.
    SkMsg,
    /// Datagrams: the call fails with EPERM.
    CgroupSkb,
    /// Sockets whose packets pass neither: they are not made (EPERM). In `strict` mode.
    Lsm,
}

impl Method {
    pub const fn name(self) -> &'static str {
        match self {
            Self::SkMsg => "sk-msg",
            Self::CgroupSkb => "cgroup-skb",
            Self::Lsm => "lsm",
        }
    }
}
