//! Programs on sockets, packets and, where those are not to be had, system calls.

use super::programs::{JUDGING, KERNEL_TLS, MESSAGES, PACKET_SOCKETS, SYSCALL_PROGRAMS};
use super::{Kernel, LoadError, program, raw_link};
use crate::kernel;
use aya::Ebpf;
use aya::maps::SockHash;
use aya::programs::{
    CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, CgroupSockAddr, CgroupSockopt, Lsm, Program,
    ProgramError, SkMsg, SockOps, TracePoint,
};
use aya::sys::SyscallError;
use aya_obj::generated::bpf_attach_type::BPF_CGROUP_SETSOCKOPT;
use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::Path;

/// Links (since 5.7) always allow other programs beside them, whatever the mode; a flag is refused.
const MODE: CgroupAttachMode = CgroupAttachMode::Single;

impl Kernel {
    /// Sees every TCP segment and UDP datagram that leaves a cgroup below `cgroup`, and who opens which connection.
    ///
    /// # Errors
    /// When the kernel refuses a program; the error holds the verifier's words.
    pub fn attach_sockets(&self, cgroup: &Path) -> Result<(), LoadError> {
        let cgroup = File::open(cgroup)
            .map_err(|error| LoadError::Cgroup { path: cgroup.display().to_string(), error })?;
        let mut ebpf = self.lock();
        for name in ["tcp_connect4", "tcp_connect6"] {
            let connect: &mut CgroupSockAddr = program(&mut ebpf, name)?;
            let link = connect
                .load()
                .and_then(|()| connect.attach(&cgroup, MODE))
                .and_then(|link| self.if_pinned(|| connect.take_link(link)))
                .map_err(|error| LoadError::Program { name, error })?;
            self.keep(link)?;
        }
        if self.judges() {
            self.attach_kernel_tls(&mut ebpf, &cgroup)?;
            self.attach_messages(&mut ebpf)?;
        }
        let name = self.variant("tcp_connections");
        let connections: &mut SockOps = program(&mut ebpf, name)?;
        let link = connections
            .load()
            .and_then(|()| connections.attach(&cgroup, MODE))
            .and_then(|link| self.if_pinned(|| connections.take_link(link)))
            .map_err(|error| LoadError::Program { name, error })?;
        self.keep(link)?;
        let name = self.variant("packet_egress");
        let packets: &mut CgroupSkb = program(&mut ebpf, name)?;
        let link = packets
            .load()
            .and_then(|()| packets.attach(&cgroup, CgroupSkbAttachType::Egress, MODE))
            .and_then(|link| self.if_pinned(|| packets.take_link(link)))
            .map_err(|error| LoadError::Program { name, error })?;
        self.keep(link)?;
        Ok(())
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
            .and_then(|link| self.if_pinned(|| socket.take_link(link)))
            .map_err(|error| LoadError::Program { name: PACKET_SOCKETS, error })?;
        // This link is a file already.
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

    /// Has the kernel verify every program of sockets that judges, and attaches none.
    ///
    /// # Errors
    /// As [`Self::attach_sockets`].
    pub fn verify_judging(&self) -> Result<(), LoadError> {
        let mut ebpf = self.lock();
        let failed = |name| move |error| LoadError::Program { name, error };
        program::<SkMsg>(&mut ebpf, MESSAGES)?.load().map_err(failed(MESSAGES))?;
        program::<CgroupSockopt>(&mut ebpf, KERNEL_TLS)?.load().map_err(failed(KERNEL_TLS))?;
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

    /// Keeps TLS of the kernel off connections whose messages are judged.
    fn attach_kernel_tls(&self, ebpf: &mut Ebpf, cgroup: &File) -> Result<(), LoadError> {
        let name = KERNEL_TLS;
        let failed = |error| LoadError::Program { name, error };
        let options: &mut CgroupSockopt = program(ebpf, name)?;
        options.load().map_err(failed)?;
        let Some(pins) = &self.pins else {
            return options.attach(cgroup, MODE).map(drop).map_err(failed);
        };
        let program = options.fd().map_err(failed)?.as_fd();
        let link = raw_link::attach(program, cgroup.as_fd(), BPF_CGROUP_SETSOCKOPT)
            .map_err(|io_error| failed(SyscallError { call: "bpf_link_create", io_error }.into()))?;
        Ok(pins.keep_raw(&link)?)
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
            .and_then(|link| self.if_pinned(|| messages.take_link(link)))
            .map_err(|error| LoadError::Program { name, error })?;
        // The map holds the program. This link has no file; dropped, it would take the program out.
        std::mem::forget(link);
        Ok(())
    }

    /// A link that is to outlive this object is taken out of its program.
    fn if_pinned<L>(
        &self,
        take: impl FnOnce() -> Result<L, ProgramError>,
    ) -> Result<Option<L>, ProgramError> {
        self.pins.is_some().then(take).transpose()
    }
}
