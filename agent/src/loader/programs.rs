//! The kernel programs by name: what each is for, and which does the same and judges.

use crate::enforce::Method;

/// The socket layer of hosts without cgroup v2: program, system call tracepoints.
pub(super) const SYSCALL_PROGRAMS: &[(&str, &[&str])] = &[
    ("enter_socket", &["sys_enter_socket"]),
    ("exit_socket", &["sys_exit_socket"]),
    ("enter_connect", &["sys_enter_connect"]),
    ("exit_connect", &["sys_exit_connect"]),
    ("enter_accept", &["sys_enter_accept", "sys_enter_accept4"]),
    ("exit_accept", &["sys_exit_accept", "sys_exit_accept4"]),
    ("enter_close", &["sys_enter_close"]),
    ("enter_write", &["sys_enter_write"]),
    ("enter_sendto", &["sys_enter_sendto"]),
    ("enter_writev", &["sys_enter_writev", "sys_enter_pwritev2"]),
    ("enter_sendmsg", &["sys_enter_sendmsg"]),
    ("enter_sendmmsg", &["sys_enter_sendmmsg"]),
];

/// Programs attached by `discover` to functions of TLS libraries.
pub const TLS_PROGRAMS: &[&str] = &[
    "openssl_write",
    "openssl_write_ex",
    "openssl_handshake",
    "openssl_ready",
    "openssl_sendfile",
    "gnutls_send",
    "gnutls_handshake",
];

/// Refuses sockets for raw packets.
pub(super) const PACKET_SOCKETS: &str = "packet_socket";

/// Judges what is written on TCP connections.
pub(super) const MESSAGES: &str = "message_egress";

/// Keeps TLS of the kernel off connections whose messages are judged.
pub(super) const KERNEL_TLS: &str = "kernel_tls";

/// What the kernel verifies first of all programs that override: a few instructions, no more.
pub(super) const OVERRIDE: &str = "return_override";

/// Programs that only look, and those that do the same and judge what leaves.
pub(super) const JUDGING: &[(&str, &str)] =
    &[("tcp_connections", "tcp_connections_judged"), ("packet_egress", "packet_egress_judged")];

/// The same for TLS calls, by what refuses them.
pub(super) const fn tls_judging(method: Method) -> &'static [(&'static str, &'static str)] {
    match method {
        Method::ReturnOverride => &[
            ("openssl_write", "openssl_write_override"),
            ("openssl_write_ex", "openssl_write_ex_override"),
            ("gnutls_send", "gnutls_send_override"),
        ],
        Method::Signal => &[
            ("openssl_write", "openssl_write_signal"),
            ("openssl_write_ex", "openssl_write_ex_signal"),
            ("gnutls_send", "gnutls_send_signal"),
        ],
        Method::SkMsg | Method::CgroupSkb | Method::Lsm => &[
            ("openssl_write", "openssl_write_judged"),
            ("openssl_write_ex", "openssl_write_ex_judged"),
            ("gnutls_send", "gnutls_send_judged"),
        ],
    }
}
