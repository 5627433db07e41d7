//! GnuTLS.

use super::{ProbeSpec, Role, TlsLibrary};

const fn spec(symbol: &'static str, program: &'static str, role: Role) -> ProbeSpec {
    ProbeSpec { library: TlsLibrary::GnuTls, symbol, program, role, fails_as: None }
}

/// No record has room for 0 bytes: GNUTLS_E_INVALID_REQUEST.
const fn send(symbol: &'static str) -> ProbeSpec {
    ProbeSpec { fails_as: Some("gnutls_record_set_max_size"), ..spec(symbol, "gnutls_send", Role::Write) }
}

// gnutls_record_send tail-calls gnutls_record_send2 in newer versions; the kernel program knows the second
// hit of one call by its arguments.
pub(super) const SPECS: &[ProbeSpec] = &[
    send("gnutls_record_send"),
    send("gnutls_record_send2"),
    send("gnutls_record_send_early_data"),
    send("gnutls_record_send_range"),
    spec("gnutls_handshake", "gnutls_handshake", Role::Handshake),
];
