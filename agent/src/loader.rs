//! Loads the kernel programs and attaches them.

mod judging;
pub mod pins;
mod programs;
mod uprobes;

pub use judging::{Added, Judging};
pub use programs::TLS_PROGRAMS;
pub use uprobes::Uprobes;

use crate::enforce::Method;
use crate::kernel::numbers::Numbers;
use crate::kernel::{self, TaskOffsets, rules};
use aya::maps::{Array, HashMap as AyaHashMap, MapData, PerCpuArray, RingBuf, SkStorage, SockHash};
use aya::programs::links::FdLink;
use aya::programs::uprobe::{UProbeAttachLocation, UProbeScope};
use aya::programs::{
    CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, CgroupSockAddr, Lsm, Program, SkMsg, SockOps,
    TracePoint, UProbe,
};
use aya::{Ebpf, EbpfLoader};
use keymoat_abi::state::{Descriptor, DescriptorKey};
use keymoat_abi::{Config, FlowState};
use keymoat_detect::RuleTables;
use pins::Pins;
use programs::{JUDGING, MESSAGES, OVERRIDE, PACKET_SOCKETS, SYSCALL_PROGRAMS, tls_judging};
use std::fs::File;
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
    pub task: TaskOffsets,
    /// See [`kernel::unread`]. In `strict` mode nobody is spared.
    pub unread_hidden: bool,
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
            task_pid_offset: settings.task.pid,
            task_tgid_offset: settings.task.tgid,
            task_comm_offset: settings.task.comm,
            epoch: pins.as_ref().map_or(0, Pins::epoch),
            strict: pins.is_some().into(),
            everything: everything.into(),
            response_budget: settings.response_budget,
            unread_hidden: spares.into(),
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

    /// Sees every TCP segment and UDP datagram that leaves a cgroup below `cgroup`, and who opens which connection.
    ///
    /// # Errors
    /// When the kernel refuses a program; the error holds the verifier's words.
    pub fn attach_sockets(&self, cgroup: &Path) -> Result<(), LoadError> {
        // Links (since 5.7) always allow other programs beside them, whatever the mode; a flag is refused.
        const MODE: CgroupAttachMode = CgroupAttachMode::Single;
        let cgroup = File::open(cgroup)
            .map_err(|error| LoadError::Cgroup { path: cgroup.display().to_string(), error })?;
        let mut ebpf = self.lock();
        for name in ["tcp_connect4", "tcp_connect6"] {
            let connect: &mut CgroupSockAddr = program(&mut ebpf, name)?;
            let link = connect
                .load()
                .and_then(|()| connect.attach(&cgroup, MODE))
                .and_then(|link| self.pins.is_some().then(|| connect.take_link(link)).transpose())
                .map_err(|error| LoadError::Program { name, error })?;
            self.keep(link)?;
        }
        if self.judges() {
            self.attach_messages(&mut ebpf)?;
        }
        let name = self.variant("tcp_connections");
        let connections: &mut SockOps = program(&mut ebpf, name)?;
        let link = connections
            .load()
            .and_then(|()| connections.attach(&cgroup, MODE))
            .and_then(|link| self.pins.is_some().then(|| connections.take_link(link)).transpose())
            .map_err(|error| LoadError::Program { name, error })?;
        self.keep(link)?;
        let name = self.variant("packet_egress");
        let packets: &mut CgroupSkb = program(&mut ebpf, name)?;
        let link = packets
            .load()
            .and_then(|()| packets.attach(&cgroup, CgroupSkbAttachType::Egress, MODE))
            .and_then(|link| self.pins.is_some().then(|| packets.take_link(link)).transpose())
            .map_err(|error| LoadError::Program { name, error })?;
        self.keep(link)?;
        Ok(())
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

    /// Has sockets refused whose packets no other program sees. For `strict` mode.
    ///
    /// # Errors
    /// When this kernel has no BPF among its security modules.
    pub fn attach_lsm(&self) -> Result<(), LoadError> {
        self.verify_lsm()?;
        let mut ebpf = self.lock();
        let socket: &mut Lsm = program(&mut ebpf, PACKET_SOCKETS)?;
        let link = socket
            .attach()
            .and_then(|link| self.pins.is_some().then(|| socket.take_link(link)).transpose())
            .map_err(|error| LoadError::Program { name: PACKET_SOCKETS, error })?;
        if let (Some(pins), Some(link)) = (&self.pins, link) {
            pins.keep(link.into())?;
        }
        Ok(())
    }

    /// Has the kernel verify what [`Self::attach_lsm`] attaches.
    ///
    /// # Errors
    /// As [`Self::attach_lsm`].
    pub fn verify_lsm(&self) -> Result<(), LoadError> {
        let failed = |error| LoadError::Program { name: PACKET_SOCKETS, error };
        if !kernel::has_bpf_lsm() {
            return Err(LoadError::NoBpfLsm);
        }
        let btf = aya::Btf::from_sys_fs().map_err(|error| failed(error.into()))?;
        let mut ebpf = self.lock();
        program::<Lsm>(&mut ebpf, PACKET_SOCKETS)?.load("socket_create", &btf).map_err(failed)
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

    /// Sees socket writes at their system calls.
    ///
    /// # Errors
    /// As [`Self::attach_sockets`]; also when tracefs is not mounted.
    pub fn attach_syscalls(&self) -> Result<(), LoadError> {
        let mut ebpf = self.lock();
        for &(name, tracepoints) in SYSCALL_PROGRAMS {
            let probe: &mut TracePoint = program(&mut ebpf, name)?;
            probe.load().map_err(|error| LoadError::Program { name, error })?;
            for tracepoint in tracepoints {
                probe.attach("syscalls", tracepoint).map_err(|error| LoadError::Program { name, error })?;
            }
        }
        Ok(())
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

    /// Has the kernel verify every program of sockets that judges, and attaches none.
    ///
    /// # Errors
    /// As [`Self::attach_sockets`].
    pub fn verify_judging(&self) -> Result<(), LoadError> {
        let mut ebpf = self.lock();
        let failed = |name| move |error| LoadError::Program { name, error };
        program::<SkMsg>(&mut ebpf, MESSAGES)?.load().map_err(failed(MESSAGES))?;
        for &(_, name) in JUDGING {
            let program = ebpf.program_mut(name).ok_or(LoadError::Missing(name))?;
            match program {
                Program::SockOps(program) => program.load(),
                Program::CgroupSkb(program) => program.load(),
                _ => Ok(()),
            }
            .map_err(failed(name))?;
        }
        Ok(())
    }

    /// The program that does a job: of two, the one that judges or the one that only looks.
    fn variant(&self, name: &'static str) -> &'static str {
        let Some(method) = self.judging else { return name };
        let mut judging = JUDGING.iter().chain(tls_judging(method));
        judging.find(|(looking, _)| *looking == name).map_or(name, |(_, judging)| judging)
    }

    /// Has every message judged that is sent on a socket in `CONNECTIONS`. Before sockets come into it: each keeps the program that
    /// is attached when it comes.
    fn attach_messages(&self, ebpf: &mut Ebpf) -> Result<(), LoadError> {
        let map = "CONNECTIONS";
        let connections = ebpf.map(map).ok_or(LoadError::Missing(map))?;
        let connections: SockHash<_, u64> =
            connections.try_into().map_err(|error| LoadError::Map { name: map, error })?;
        let connections = connections
            .fd()
            .try_clone()
            .map_err(|error| LoadError::Map { name: map, error: error.into() })?;
        let name = MESSAGES;
        let messages: &mut SkMsg = program(ebpf, name)?;
        let link = messages
            .load()
            .and_then(|()| messages.attach(&connections))
            .and_then(|link| self.pins.is_some().then(|| messages.take_link(link)).transpose())
            .map_err(|error| LoadError::Program { name, error })?;
        // The map holds the program. This link has no file; dropped, it would take the program out.
        std::mem::forget(link);
        Ok(())
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
