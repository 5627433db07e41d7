//! Loads the kernel programs and attaches them.

mod judging;
pub mod pins;
mod programs;
mod raw_link;
mod sockets;
mod uprobes;

pub use judging::{Added, Judging};
pub use programs::TLS_PROGRAMS;
pub use uprobes::Uprobes;

use crate::enforce::Method;
use crate::kernel::cgroup::CgroupId;
use crate::kernel::numbers::Numbers;
use crate::kernel::{Offsets, rules};
use aya::maps::{Array, HashMap as AyaHashMap, MapData, PerCpuArray, RingBuf, SkStorage};
use aya::programs::UProbe;
use aya::programs::links::FdLink;
use aya::programs::uprobe::{UProbeAttachLocation, UProbeScope};
use aya::{Ebpf, EbpfLoader};
use keymoat_abi::state::{Descriptor, DescriptorKey};
use keymoat_abi::{Config, FlowState};
use keymoat_detect::RuleTables;
use pins::Pins;
use programs::{JUDGING, OVERRIDE, tls_judging};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("KEYMOAT_EBPF_OBJECT"));

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("the kernel programs could not be loaded; `keymoat doctor` says what this kernel lacks: {0}")]
    Load(#[from] aya::EbpfError),
    #[error("kernel program `{name}`: {error}")]
    Program { name: &'static str, error: aya::programs::ProgramError },
    #[error("map `{name}`: {error}")]
    Map { name: &'static str, error: aya::maps::MapError },
    #[error(
        "the kernel object has no `{0}`: the agent and its kernel object were built from different sources"
    )]
    Missing(&'static str),
    #[error("calls can be overridden on x86-64 only")]
    Architecture,
    #[error("cgroup {path}: {error}")]
    Cgroup { path: String, error: std::io::Error },
    #[error(
        "BPF is not among this kernel's security modules (/sys/kernel/security/lsm): start it with `lsm=…,bpf`"
    )]
    NoBpfLsm,
    #[error("{0}")]
    Pin(#[from] pins::PinError),
    #[error(
        "there are more rules than the kernel can number: switch some off, or `keymoat agent --detach` where `strict` \
         still keeps the numbers of old ones"
    )]
    TooManyRules,
    #[error("these rules need more room than was left for rules that are added later: restart the agent")]
    RulesTooLarge,
}

/// What the programs are told at load.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub include_loopback: bool,
    pub accepted_connections: bool,
    /// Bytes of responses that each processor may show in a period; 0: all.
    pub response_budget: u32,
    /// Power of two, a multiple of the page size.
    pub ring_bytes: u32,
    pub offsets: Offsets,
    /// See [`kernel::unread`]. In `strict` mode nobody is spared.
    pub unread_hidden: bool,
    /// The only processes to watch; none: all.
    pub tree: Option<CgroupId>,
}

/// The loaded object. Cloning shares it; dropping the last clone detaches everything.
#[derive(Clone)]
pub struct Kernel {
    ebpf: Arc<Mutex<Ebpf>>,
    /// The programs that judge are used, in place of those that only look; and what refuses TLS writes.
    judging: Option<Method>,
    numbers: Arc<Numbers>,
    /// In `strict` mode: what is attached stays when this object is gone.
    pins: Option<Pins>,
    spares: bool,
}

/// Maps the agent reads and writes.
pub struct Maps {
    pub events: RingBuf<MapData>,
    pub consumer: Array<MapData, u32>,
    pub loss: PerCpuArray<MapData, u64>,
    pub flows: SkStorage<MapData, FlowState>,
    pub descriptors: AyaHashMap<MapData, DescriptorKey, Descriptor>,
}

impl Kernel {
    /// Creates the maps and reads the programs; each program is verified when it is attached. With `judging`, what leaves is
    /// judged by these rules, and refused: see [`Self::verdicts`].
    ///
    /// # Errors
    /// [`LoadError::Load`] when a map cannot be created or the object does not parse; [`LoadError::Map`] when the rules
    /// cannot be written.
    pub fn load(settings: Settings, judging: Option<Judging<'_>>) -> Result<Self, LoadError> {
        let (method, none) = (judging.as_ref().map(|_| Method::SkMsg), RuleTables::default());
        let Judging { tables, ids, everything, strict: pins } = judging.unwrap_or(Judging::unnumbered(&none));
        let spares = settings.unread_hidden && pins.is_none();
        let config = Config {
            own_tgid: std::process::id(),
            include_loopback: settings.include_loopback.into(),
            accepted_connections: settings.accepted_connections.into(),
            task_pid_offset: settings.offsets.pid,
            task_tgid_offset: settings.offsets.tgid,
            task_comm_offset: settings.offsets.comm,
            epoch: pins.as_ref().map_or(0, Pins::epoch),
            strict: pins.is_some().into(),
            everything: everything.into(),
            response_budget: settings.response_budget,
            unread_hidden: spares.into(),
            tree_level: settings.tree.map_or(0, |tree| tree.level),
            tree: settings.tree.map_or(0, |tree| tree.id),
            write_seq_offset: settings.offsets.write_seq,
            reserved: 0,
        };
        let mut loader = EbpfLoader::new();
        loader.override_global("CONFIG", &config, true).map_max_entries("EVENTS", settings.ring_bytes);
        for (map, entries) in rules::sizes(tables) {
            loader.map_max_entries(map, entries);
        }
        for (map, path) in pins.iter().flat_map(Pins::maps) {
            if let Some(entries) = pins::entries(&path) {
                loader.map_max_entries(map, entries);
            }
            loader.map_pin_path(map, path);
        }
        let mut ebpf = loader.load(OBJECT)?;
        let numbers = judging::number(&mut ebpf, ids)?;
        if tables.header.generation != 0 {
            let half = rules::write(&mut ebpf, &numbers.renumber(tables))?;
            rules::take_into_use(&mut ebpf, half)?;
        }
        Ok(Self {
            ebpf: Arc::new(Mutex::new(ebpf)),
            judging: method,
            numbers: Arc::new(numbers),
            pins,
            spares,
        })
    }

    /// Takes the agent's maps out of the object. Works once.
    ///
    /// # Errors
    /// [`LoadError::Missing`] the second time.
    pub fn take_maps(&self) -> Result<Maps, LoadError> {
        let mut ebpf = self.lock();
        Ok(Maps {
            events: take(&mut ebpf, "EVENTS")?,
            consumer: take(&mut ebpf, "CONSUMER")?,
            loss: take(&mut ebpf, "LOSS")?,
            flows: take(&mut ebpf, "FLOWS")?,
            descriptors: take(&mut ebpf, "DESCRIPTORS")?,
        })
    }

    /// Keeps a link beyond this object's life. Nothing to do for one that was not taken out of its program.
    fn keep<L>(&self, link: Option<L>) -> Result<Option<PathBuf>, LoadError>
    where
        FdLink: TryFrom<L, Error = aya::programs::links::LinkError>,
    {
        let (Some(pins), Some(link)) = (&self.pins, link) else { return Ok(None) };
        let link = FdLink::try_from(link).map_err(pins::PinError::from)?;
        Ok(Some(pins.keep(link)?))
    }

    /// Lets this agent's programs judge from now on, in place of those of the agent before it, which are taken out.
    ///
    /// # Errors
    /// When the kernel does not take it.
    pub fn take_over(&self) -> Result<(), LoadError> {
        let Some(pins) = &self.pins else { return Ok(()) };
        let mut active: Array<MapData, u32> = take(&mut self.lock(), "ACTIVE")?;
        active.set(0, pins.epoch(), 0).map_err(|error| LoadError::Map { name: "ACTIVE", error })?;
        Ok(pins.remove_others()?)
    }

    /// What is attached stays when the agent ends, if it is in `strict` mode.
    pub fn leave(&self) {
        if let Some(pins) = &self.pins {
            pins.leave();
        }
    }

    /// Are programs spared that would not read any more if their messages were judged?
    pub fn spares(&self) -> bool {
        self.spares
    }

    /// Is state in use that an agent before this one left?
    pub fn succeeds(&self) -> bool {
        self.pins.as_ref().is_some_and(Pins::succeeds)
    }

    /// Verifies the programs that `discover` attaches.
    ///
    /// # Errors
    /// As [`Self::attach_sockets`].
    pub fn load_tls(&self) -> Result<(), LoadError> {
        let mut ebpf = self.lock();
        for name in TLS_PROGRAMS {
            load_probe(&mut ebpf, self.variant(name))?;
        }
        Ok(())
    }

    /// Has the kernel verify the programs with which `method` refuses TLS writes, and uses them from now on.
    ///
    /// # Errors
    /// As [`Self::attach_sockets`]; then nothing changes.
    pub fn use_rung(&mut self, method: Method) -> Result<(), LoadError> {
        let mut ebpf = self.lock();
        if method == Method::ReturnOverride {
            if !cfg!(target_arch = "x86_64") {
                return Err(LoadError::Architecture);
            }
            load_probe(&mut ebpf, OVERRIDE)?;
        }
        for (_, name) in tls_judging(method) {
            load_probe(&mut ebpf, name)?;
        }
        drop(ebpf);
        self.judging = Some(method);
        Ok(())
    }

    /// Puts a probe that does nothing into a function, `offset` bytes from its start (at 0, where every other tool puts
    /// its own): the yardstick of the benchmarks. It stays while this object lives.
    ///
    /// # Errors
    /// As [`Self::attach_sockets`].
    pub fn attach_noop(&self, library: &Path, symbol: &str, offset: u64) -> Result<(), LoadError> {
        self.attach_by_hand("noop", library, symbol, offset)
    }

    /// Has every call of a function `(buffer, length)` scanned for keys: what the example `scan_in_kernel` measures.
    ///
    /// # Errors
    /// As [`Self::attach_sockets`].
    pub fn attach_scan_check(&self, library: &Path, symbol: &str) -> Result<(), LoadError> {
        self.attach_by_hand("scan_check", library, symbol, 0)
    }

    /// Has every call of a function `(context, buffer, length)` judged as plaintext given to a TLS connection: what the example
    /// `kernel_cost` measures.
    ///
    /// # Errors
    /// As [`Self::attach_sockets`].
    pub fn attach_write_judged(&self, library: &Path, symbol: &str) -> Result<(), LoadError> {
        self.attach_by_hand("openssl_write_ex_judged", library, symbol, 0)
    }

    fn attach_by_hand(
        &self,
        name: &'static str,
        library: &Path,
        symbol: &str,
        offset: u64,
    ) -> Result<(), LoadError> {
        let mut ebpf = self.lock();
        let probe: &mut UProbe = program(&mut ebpf, name)?;
        if probe.fd().is_err() {
            probe.load().map_err(|error| LoadError::Program { name, error })?;
        }
        probe
            .attach(UProbeAttachLocation::SymbolOffset(symbol, offset), library, UProbeScope::AllProcesses)
            .map_err(|error| LoadError::Program { name, error })?;
        Ok(())
    }

    /// Does what leaves get judged?
    pub fn judges(&self) -> bool {
        self.judging.is_some()
    }

    /// The program that does a job: of two, the one that judges or the one that only looks.
    fn variant(&self, name: &'static str) -> &'static str {
        let Some(method) = self.judging else { return name };
        let mut judging = JUDGING.iter().chain(tls_judging(method));
        judging.find(|(looking, _)| *looking == name).map_or(name, |(_, judging)| judging)
    }

    /// What `discover` attaches with.
    pub fn attacher(&self) -> Uprobes {
        Uprobes::new(self.clone())
    }

    /// Runs `work` on the loaded object (aya-log takes its map from it).
    pub fn with<T>(&self, work: impl FnOnce(&mut Ebpf) -> T) -> T {
        work(&mut self.lock())
    }

    /// A panic elsewhere while the lock was held leaves the object usable: it is only ever added to.
    fn lock(&self) -> MutexGuard<'_, Ebpf> {
        self.ebpf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn program<'a, P>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut P, LoadError>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = aya::programs::ProgramError>,
{
    let program = ebpf.program_mut(name).ok_or(LoadError::Missing(name))?;
    program.try_into().map_err(|error| LoadError::Program { name, error })
}

/// Has a TLS probe verified, once.
fn load_probe(ebpf: &mut Ebpf, name: &'static str) -> Result<(), LoadError> {
    let probe: &mut UProbe = program(ebpf, name)?;
    match probe.load() {
        Err(aya::programs::ProgramError::AlreadyLoaded) => Ok(()),
        loaded => loaded.map_err(|error| LoadError::Program { name, error }),
    }
}

fn take<M>(ebpf: &mut Ebpf, name: &'static str) -> Result<M, LoadError>
where
    M: TryFrom<aya::maps::Map, Error = aya::maps::MapError>,
{
    let map = ebpf.take_map(name).ok_or(LoadError::Missing(name))?;
    map.try_into().map_err(|error| LoadError::Map { name, error })
}

/// An error with its causes; of a verifier log, the last line that says something.
pub fn brief(error: &dyn std::error::Error) -> String {
    let text = chain(error);
    match text.split_once("Verifier output:") {
        None => text,
        Some((head, log)) => {
            let says_nothing = |line: &str| {
                line.trim().is_empty()
                    || ["processed ", "stack depth ", "verification time "]
                        .iter()
                        .any(|s| line.starts_with(s))
            };
            let last = log.lines().rev().find(|line| !says_nothing(line));
            format!("{head}Verifier output: … {}", last.unwrap_or_default().trim())
        }
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
