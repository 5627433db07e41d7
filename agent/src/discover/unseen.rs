//! Words for a process whose TLS cannot be seen: what it seems to use, so that a person knows what to do.

use super::Hello;
use super::library::{Libraries, Verdict};
use super::maps::Mapping;
use super::processes::Process;
use crate::elf;
use crate::record::{self, UnseenTls};
use std::path::Path;

/// TLS libraries without probes, by how their files' names begin.
const OTHERS: &[(&str, &str)] = &[
    ("libssl3.so", "NSS"),
    ("libnss3.so", "NSS"),
    ("libjvm.so", "Java's own TLS (JSSE)"),
    ("libmbedtls", "Mbed TLS"),
    ("libwolfssl", "wolfSSL"),
    ("libs2n", "s2n-tls"),
    ("librustls", "rustls"),
];

const GO_SECTIONS: &[&[u8]] = &[b".go.buildinfo", b".note.go.buildid"];

/// `mappings` is empty when the process is gone already.
pub(super) fn describe(
    hello: Hello,
    process: &Process,
    mappings: &[Mapping],
    libraries: &Libraries,
) -> UnseenTls {
    let program = mappings.first().map(|mapping| &*mapping.path).or(process.program.as_deref());
    let reason = match process.verdict {
        Verdict::Broken(id) => libraries.failure(id),
        _ => match other_library(mappings).or_else(|| go(mappings)) {
            Some(other) => format!("uses {other}; keymoat has no probe for it"),
            None => {
                "links its own TLS (Go, rustls or a stripped static library); keymoat has no probe for it"
                    .to_owned()
            }
        },
    };
    UnseenTls {
        process: record::Process {
            pid: hello.pid,
            comm: hello.comm,
            exe: program.map(|path| path.to_string_lossy().into_owned()),
            ..Default::default()
        },
        destination: hello.destination,
        reason,
    }
}

fn other_library(mappings: &[Mapping]) -> Option<&'static str> {
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    mappings.iter().filter_map(|mapping| name(&mapping.path)).find_map(|name| {
        OTHERS.iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, library)| *library)
    })
}

/// The program itself, not its libraries.
fn go(mappings: &[Mapping]) -> Option<&'static str> {
    let opened = mappings.first()?.open().ok()?;
    elf::has_section(&opened.file, GO_SECTIONS).ok()?.then_some("Go's own TLS (crypto/tls)")
}
