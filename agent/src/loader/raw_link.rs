//! A link of a cgroup program that can be kept: aya 0.14 gives the links of all such programs as files but those of socket options.

use aya_obj::generated::bpf_cmd::{self, BPF_LINK_CREATE, BPF_OBJ_PIN};
use aya_obj::generated::{bpf_attach_type, bpf_attr};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Attaches a program to a cgroup, beside others (Linux 5.7).
///
/// # Errors
/// The kernel's own.
pub(super) fn attach(
    program: BorrowedFd<'_>,
    cgroup: BorrowedFd<'_>,
    kind: bpf_attach_type,
) -> io::Result<OwnedFd> {
    let mut attributes = nothing();
    attributes.link_create.__bindgen_anon_1.prog_fd = program.as_raw_fd().cast_unsigned();
    attributes.link_create.__bindgen_anon_2.target_fd = cgroup.as_raw_fd().cast_unsigned();
    attributes.link_create.attach_type = kind as u32;
    let link = bpf(BPF_LINK_CREATE, &mut attributes)?;
    // SAFETY: a descriptor that the kernel has just made for this call.
    Ok(unsafe { OwnedFd::from_raw_fd(link) })
}

/// Keeps it for as long as there is a file of the BPF file system at this path.
///
/// # Errors
/// The kernel's own, or the path has a zero in it.
pub(super) fn pin(link: &OwnedFd, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let mut attributes = nothing();
    attributes.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    attributes.__bindgen_anon_4.bpf_fd = link.as_raw_fd().cast_unsigned();
    bpf(BPF_OBJ_PIN, &mut attributes).map(drop)
}

fn nothing() -> bpf_attr {
    // SAFETY: a union of structs of integers: all zeros are valid, and what the kernel wants where nothing is said.
    unsafe { std::mem::zeroed() }
}

fn bpf(command: bpf_cmd, attributes: &mut bpf_attr) -> io::Result<i32> {
    // SAFETY: the attributes of this command, with their size; what they point to lives as long as the call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command as libc::c_long, &raw mut *attributes, size_of::<bpf_attr>())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { i32::try_from(result).map_err(io::Error::other) }
}
