//! What `--mode block` would refuse with: its programs are verified, none is attached.

use super::checks::settings;
use crate::enforce::Method;
use crate::enforce::ladder::RUNGS;
use crate::kernel::cgroup;
use crate::loader::{Judging, Kernel, LoadError, brief};
use keymoat_detect::RuleTables;
use serde::Serialize;

/// What would refuse a write.
#[derive(Debug, Serialize)]
pub struct Enforcement {
    /// For TLS; none: nothing can be refused on this host.
    pub chosen: Option<String>,
    pub reason: String,
    pub methods: Vec<EnforcementMethod>,
}

/// One way to refuse, and whether this kernel can.
#[derive(Debug, Serialize)]
pub struct EnforcementMethod {
    pub name: &'static str,
    pub available: bool,
    pub refuses: &'static str,
    /// Why it is not available, or not chosen by itself.
    pub reason: String,
}

impl Enforcement {
    /// Tries every method.
    pub fn of_this_kernel() -> Self {
        if cgroup::v2_mount().is_none() {
            return Self::none("cgroup v2 is not mounted");
        }
        let loaded = Kernel::load(settings(), Some(Judging::unnumbered(&RuleTables::default())));
        let mut kernel = match loaded.and_then(|kernel| kernel.verify_judging().map(|()| kernel)) {
            Ok(kernel) => kernel,
            Err(error) => {
                let why = brief(&error);
                return Self::none(&format!(
                    "the kernel refuses the programs, it takes Linux 5.17 or later: {why}"
                ));
            }
        };
        let mut methods: Vec<_> =
            RUNGS.into_iter().map(|method| EnforcementMethod::of(method, kernel.use_rung(method))).collect();
        let best = methods.iter().find(|method| method.available && method.name != Method::Signal.name());
        let chosen = best.map(|method| method.name.to_owned());
        methods.push(EnforcementMethod::of(Method::CgroupSkb, Ok(())));
        methods.push(EnforcementMethod::of(Method::Lsm, kernel.verify_lsm()));
        Self { chosen, reason: "with `--mode block`".to_owned(), methods }
    }

    fn none(why: &str) -> Self {
        let method = |method| EnforcementMethod {
            available: false,
            reason: why.to_owned(),
            ..EnforcementMethod::of(method, Ok(()))
        };
        let methods = RUNGS.into_iter().chain([Method::CgroupSkb, Method::Lsm]).map(method).collect();
        Self { chosen: None, reason: why.to_owned(), methods }
    }
}

impl EnforcementMethod {
    fn of(method: Method, tried: Result<(), LoadError>) -> Self {
        let (available, reason) = match tried {
            Ok(()) if method == Method::Signal => (true, "only with `--enforcement signal`".to_owned()),
            Ok(()) => (true, String::new()),
            Err(error) => (false, brief(&error)),
        };
        let refuses = match method {
            Method::ReturnOverride => "TLS: the call fails, nothing is encrypted, the connection goes on",
            Method::SkMsg => "TCP, TLS or not: the write fails with EACCES, the connection is ended",
            Method::Signal => "TLS: the process is killed before the call runs",
            Method::CgroupSkb => "UDP: the call fails with EPERM",
            Method::Lsm => "sockets for raw packets, with `--strict`: they are not made (EPERM)",
        };
        Self { name: method.name(), available, refuses, reason }
    }
}
