//! OpenSSL 1.1 and 3, and the libraries that kept its names.

use super::{ProbeSpec, Role, TlsLibrary};

const fn spec(symbol: &'static str, program: &'static str, role: Role) -> ProbeSpec {
    ProbeSpec { library: TlsLibrary::OpenSsl, symbol, program, role, fails_as: None }
}

/// No certificate instead of a length that cannot be: 0, and "passed a null parameter" in the queue of errors.
const fn write_ex(symbol: &'static str) -> ProbeSpec {
    ProbeSpec { fails_as: Some("SSL_use_certificate"), ..spec(symbol, "openssl_write_ex", Role::Write) }
}

pub(super) const SPECS: &[ProbeSpec] = &[
    // The length is an int here and a size_t in all others. Of -1 bytes: -1, and "bad length" in the queue of errors.
    ProbeSpec { fails_as: Some("SSL_write"), ..spec("SSL_write", "openssl_write", Role::Write) },
    write_ex("SSL_write_ex"),
    write_ex("SSL_write_ex2"),
    write_ex("SSL_write_early_data"),
    spec("SSL_do_handshake", "openssl_handshake", Role::Handshake),
    spec("SSL_set_connect_state", "openssl_ready", Role::Handshake),
    // Kernel TLS: the file's bytes pass the socket layer as plaintext and are seen there.
    spec("SSL_sendfile", "openssl_sendfile", Role::Count),
];
