//! TLS libraries whose write calls are probed. One file per library, and one line here for each.

use serde::Serialize;
use std::fmt;

mod gnutls;
mod openssl;

/// Every probed function of every library. Of two names for one address, the earlier one is attached.
const TABLES: &[&[ProbeSpec]] = &[openssl::SPECS, gnutls::SPECS];

/// One function, and the kernel program that runs when it is called.
#[derive(Debug, PartialEq, Eq)]
pub struct ProbeSpec {
    pub library: TlsLibrary,
    /// Name in the symbol table, without a version.
    pub symbol: &'static str,
    /// Name of the program in the kernel object.
    pub program: &'static str,
    pub role: Role,
    /// Called with the same connection, 0 and -1, this function of the same library fails, changes nothing, and gives back what
    /// the probed one gives back when it fails.
    pub fails_as: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsLibrary {
    /// OpenSSL 1.1 and 3, BoringSSL, LibreSSL: they share the names and the first three arguments.
    OpenSsl,
    GnuTls,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// (connection, buffer, length): the plaintext is read at the call.
    Write,
    /// (connection): its first record will be the next one that the thread sends.
    Handshake,
    /// The plaintext never passes through a buffer of the caller: the call is only counted.
    Count,
}

impl fmt::Display for TlsLibrary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OpenSsl => "openssl",
            Self::GnuTls => "gnutls",
        })
    }
}

pub fn specs() -> impl Iterator<Item = &'static ProbeSpec> {
    TABLES.iter().copied().flatten()
}

/// Every name that is looked for in a file.
pub fn symbols() -> impl Iterator<Item = &'static str> {
    let mut names: Vec<_> = specs().flat_map(|spec| [Some(spec.symbol), spec.fails_as]).flatten().collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_symbol_is_listed_twice() {
        let mut names: Vec<_> = specs().map(|s| s.symbol).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
