//! Where TLS libraries usually are, so that they have their probes before anyone maps them. What is not found
//! here is found when it is mapped.

use super::maps::{self, Opened};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const DIRECTORIES: &[&str] = &[
    "/lib",
    "/lib64",
    "/lib/x86_64-linux-gnu",
    "/usr/lib",
    "/usr/lib64",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/local/lib",
    "/usr/local/lib64",
];
const PROGRAM_DIRECTORIES: &[&str] =
    &["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

const LIBRARIES: &[&str] = &["libssl.so", "libssl-", "libgnutls.so", "libboringssl"];
/// Programs that often carry a TLS library of their own.
const PROGRAMS: &[&str] = &["node", "nodejs", "deno", "bun", "curl", "wget", "openssl"];

const LINKER_CACHE: &str = "/etc/ld.so.cache";
/// Larger than any real one.
const MAX_LINKER_CACHE: u64 = 16 << 20;

/// The machine's own files, also when we run in a container that shares its process ids.
const HOST: &str = "/proc/1/root";

/// Hands over each well-known file that exists.
pub(super) fn each(mut found: impl FnMut(&Path, Opened)) {
    for path in candidates() {
        let opened = maps::open_in_root(HOST, &path).or_else(|_| maps::open(&path));
        if let Ok(opened) = opened {
            // The same library under its real name, not that of a link to it.
            let real = std::fs::read_link(format!("/proc/self/fd/{}", opened.file.as_raw_fd()));
            found(&real.unwrap_or(path), opened);
        }
    }
}

fn candidates() -> BTreeSet<PathBuf> {
    let libraries = DIRECTORIES.iter().flat_map(|directory| {
        let inside = format!("{HOST}{directory}");
        let entries = std::fs::read_dir(inside).or_else(|_| std::fs::read_dir(directory));
        entries.into_iter().flatten().flatten().filter_map(move |entry| {
            is_library(entry.file_name().as_bytes()).then(|| Path::new(directory).join(entry.file_name()))
        })
    });
    let programs = PROGRAM_DIRECTORIES
        .iter()
        .flat_map(|directory| PROGRAMS.iter().map(move |program| Path::new(directory).join(program)));
    libraries.chain(programs).chain(linker_cache()).collect()
}

fn is_library(name: &[u8]) -> bool {
    LIBRARIES.iter().any(|prefix| name.starts_with(prefix.as_bytes()))
}

/// The dynamic linker's cache is a table of NUL-closed strings with numbers in between; the absolute paths
/// among them are all that is wanted.
fn linker_cache() -> Vec<PathBuf> {
    use std::io::Read;
    let mut bytes = Vec::new();
    if let Ok(opened) = maps::open_in_root(HOST, Path::new(LINKER_CACHE)) {
        // A part of it is as good as it gets.
        let _ = opened.file.take(MAX_LINKER_CACHE).read_to_end(&mut bytes);
    }
    bytes
        .split(|byte| *byte == 0)
        .filter(|string| string.starts_with(b"/"))
        .map(|string| Path::new(OsStr::from_bytes(string)))
        .filter(|path| path.file_name().is_some_and(|name| is_library(name.as_bytes())))
        .map(Path::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for yes in ["libssl.so.3", "libssl.so", "libssl-0a1b2c.so.1.1", "libgnutls.so.30", "libboringssl.so"]
        {
            assert!(is_library(yes.as_bytes()), "{yes}");
        }
        for no in ["libssl3.so", "libgnutlsxx.so.30", "libc.so.6", ""] {
            assert!(!is_library(no.as_bytes()), "{no}");
        }
    }
}
