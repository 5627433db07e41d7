//! OpenSSL 1.1 and 3, and the libraries that kept its names.

use super::{ProbeSpec, Role, TlsLibrary};

const fn spec(symbol: &'static str, program: &'static str, role: Role) -> ProbeSpec {
    ProbeSpec { library: TlsLibrary::OpenSsl, symbol, program, role }
}

pub(super) const SPECS: &[ProbeSpec] = &[
    // The length is an int here and a size_t in all others.
    spec("SSL_write", "openssl_write", Role::Write),
    spec("SSL_write_ex", "openssl_write_ex", Role::Write),
    spec("SSL_write_ex2", "openssl_write_ex", Role::Write),
    spec("SSL_write_early_data", "openssl_write_ex", Role::Write),
    spec("SSL_do_handshake", "openssl_handshake", Role::Handshake),
    // Kernel TLS: the file's bytes pass the socket layer as plaintext and are seen there.
    spec("SSL_sendfile", "openssl_sendfile", Role::Count),
];
