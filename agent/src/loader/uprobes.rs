//! Probes in files.

use super::{Kernel, chain, program};
use crate::discover::{Attach, AttachError, AttachId};
use crate::kernel::rcu::Expedited;
use aya::programs::UProbe;
use aya::programs::uprobe::{UProbeAttachPoint, UProbeLinkId, UProbeScope};
use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

/// Attaches uprobes by open file: the path given to the kernel leads to exactly this inode, whichever mount
/// namespace it lives in and even when it has been deleted.
pub struct Uprobes {
    kernel: Kernel,
    links: HashMap<u64, Attached>,
    next: u64,
}

/// One probe in place.
enum Attached {
    Held { program: &'static str, link: UProbeLinkId },
    Pinned(PathBuf),
}

impl Uprobes {
    pub(super) fn new(kernel: Kernel) -> Self {
        Self { kernel, links: HashMap::new(), next: 0 }
    }
}

impl Attach for Uprobes {
    fn attach(
        &mut self,
        file: &File,
        name: &'static str,
        offset: u64,
        cookie: Option<u64>,
    ) -> Result<AttachId, AttachError> {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let failed = |error: &dyn std::fmt::Display| AttachError(error.to_string().into());
        let name = self.kernel.variant(name);
        let mut ebpf = self.kernel.lock();
        let probe: &mut UProbe = program(&mut ebpf, name).map_err(|error| failed(&error))?;
        let _quickly = Expedited::begin();
        let link = probe
            .attach(UProbeAttachPoint { location: offset.into(), cookie }, &path, UProbeScope::AllProcesses)
            .map_err(|error| AttachError(chain(&error).into()))?;
        let attached = if self.kernel.pins.is_some() {
            let link = probe.take_link(link).map_err(|error| failed(&error))?;
            let kept = self.kernel.keep(Some(link)).map_err(|error| failed(&error))?;
            Attached::Pinned(kept.unwrap_or_default())
        } else {
            Attached::Held { program: name, link }
        };
        drop(ebpf);
        self.next += 1;
        self.links.insert(self.next, attached);
        Ok(AttachId(self.next))
    }

    fn detach(&mut self, id: AttachId) {
        let (name, link) = match (self.links.remove(&id.0), &self.kernel.pins) {
            (Some(Attached::Held { program, link }), _) => (program, link),
            (Some(Attached::Pinned(path)), Some(pins)) => return pins.let_go(&path),
            _ => return,
        };
        let mut ebpf = self.kernel.lock();
        let Ok(probe) = program::<UProbe>(&mut ebpf, name) else { return };
        let _quickly = Expedited::begin();
        if let Err(error) = probe.detach(link) {
            tracing::debug!("detaching {name}: {error}");
        }
    }
}
