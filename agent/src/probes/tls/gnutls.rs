//! GnuTLS.

use super::{ProbeSpec, Role, TlsLibrary};

const fn spec(symbol: &'static str) -> ProbeSpec {
    ProbeSpec { library: TlsLibrary::GnuTls, symbol, program: "gnutls_send", role: Role::Write }
}

// gnutls_record_send tail-calls gnutls_record_send2 in newer versions; the kernel program knows the second
// hit of one call by its arguments.
pub(super) const SPECS: &[ProbeSpec] = &[
    spec("gnutls_record_send"),
    spec("gnutls_record_send2"),
    spec("gnutls_record_send_early_data"),
    spec("gnutls_record_send_range"),
];
