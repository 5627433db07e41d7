//! Every system call that sends, as `km-client` knows it.

/// Hands the calls of TCP to a macro such as `calls!`, behind what it is to be given before them.
#[macro_export]
macro_rules! tcp_calls {
    ($with:ident, $($before:tt)*) => {
        $with! { $($before)*,
            write => "write",
            writev => "writev",
            send => "send",
            sendto => "sendto",
            sendmsg => "sendmsg",
            sendmmsg => "sendmmsg",
            sendfile => "sendfile",
            splice => "splice",
            vmsplice => "vmsplice",
            zerocopy => "zerocopy",
            io_uring_send => "uring-send",
            io_uring_write => "uring-write",
            io_uring_sendmsg => "uring-sendmsg",
        }
    };
}

/// The same for UDP.
#[macro_export]
macro_rules! udp_calls {
    ($with:ident, $($before:tt)*) => {
        $with! { $($before)*,
            write => "udp-write",
            writev => "udp-writev",
            send => "udp-send",
            sendto => "udpto-sendto",
            sendmsg => "udp-sendmsg",
            sendmsg_with_address => "udpto-sendmsg",
            sendmmsg => "udp-sendmmsg",
            sendmmsg_with_address => "udpto-sendmmsg",
            io_uring_send => "udp-uring-send",
            io_uring_sendmsg => "udp-uring-sendmsg",
        }
    };
}
