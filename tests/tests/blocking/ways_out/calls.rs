//! System calls, and kinds of sockets.

use super::{Arrives, Way, is_unsupported, one};
use keymoat_tests::calls::note;
use keymoat_tests::programs::km_client;
use keymoat_tests::threat_model::{Expected, Outcome};
use keymoat_tests::{Net, Script, Server, commands::text};

const NO_ZERO_COPY: &str = "the kernel has no such call for a connection that is judged: EOPNOTSUPP, with a key or without. Programs \
    fall back to another";
const BELOW_IP: &str = "a frame that the program built goes to the card itself. It needs CAP_NET_RAW: give that to nobody, or \
    `--strict`";

pub(super) fn ways() -> Vec<Way> {
    let mut ways = tcp();
    ways.extend(udp());
    ways.extend(sockets());
    ways
}

/// The key is in the last of three buffers, so that the second message of a `sendmmsg` counts too.
fn call(what: &'static str, call: &'static str, server: fn() -> Server) -> Way {
    way(what, call, server, note, Expected::Refused)
}

fn way(
    what: &'static str,
    call: &'static str,
    server: fn() -> Server,
    script: fn(&str) -> Script,
    expected: Expected,
) -> Way {
    let attempt = move |agent: &_| {
        let client = |server: &Server, key: Option<&_>| {
            let mut client = km_client(call, server.address(), &script(text(key)).save());
            client.arg(format!("link={}", Net::shared().link));
            client.into()
        };
        one(agent, server, client, Arrives::Key)
    };
    Way { what, attempt: Box::new(attempt), expected }
}

fn tcp() -> Vec<Way> {
    vec![
        call("`write`", "write", Server::sink),
        call("`writev`", "writev", Server::sink),
        call("`send`", "send", Server::sink),
        call("`sendto`", "sendto", Server::sink),
        call("`sendmsg`", "sendmsg", Server::sink),
        call("`sendmmsg`, a later message", "sendmmsg", Server::sink),
        call("`sendfile`", "sendfile", Server::sink),
        call("`splice`", "splice", Server::sink),
        call("`vmsplice`", "vmsplice", Server::sink),
        call("`MSG_ZEROCOPY`", "zerocopy", Server::sink),
        call("`MSG_MORE`", "more", Server::sink),
        call("io_uring `SEND`", "uring-send", Server::sink),
        call("io_uring `WRITE`", "uring-write", Server::sink),
        call("io_uring `SENDMSG`", "uring-sendmsg", Server::sink),
        send_zc(),
        call("io_uring, a kernel thread sends (SQPOLL)", "uring-sqpoll", Server::sink),
    ]
}

/// Programs send in another way then: kernels before 6.0 have no such call, and some sockets never do.
fn send_zc() -> Way {
    let attempt = |_: &_| {
        let client = |server: &Server, key: Option<&_>| {
            km_client("uring-send-zc", server.address(), &note(text(key)).save()).into()
        };
        assert!(is_unsupported(&Server::sink(), client), "then it has to be judged");
        Outcome::Unsupported
    };
    let expected = Expected::Otherwise(Outcome::Unsupported, NO_ZERO_COPY);
    Way { what: "io_uring `SEND_ZC`", attempt: Box::new(attempt), expected }
}

fn udp() -> Vec<Way> {
    vec![
        call("UDP `write`", "udp-write", Server::udp),
        call("UDP `writev`", "udp-writev", Server::udp),
        call("UDP `sendto`", "udpto-sendto", Server::udp),
        call("UDP `sendmsg`", "udpto-sendmsg", Server::udp),
        call("UDP `sendmmsg`, a later message", "udpto-sendmmsg", Server::udp),
        call("UDP io_uring `SEND`", "udp-uring-send", Server::udp),
        call("UDP in a raw socket", "raw", Server::udp),
    ]
}

fn sockets() -> Vec<Way> {
    let first: fn(&str) -> Script = |text| Script::of(format!("key={text} end\n"));
    let way = move |what, call, server, expected| way(what, call, server, first, expected);
    vec![
        way(
            "fast open, in the SYN (`MSG_FASTOPEN`)",
            "unconnected-fastopen",
            Server::fast_open_sink,
            Expected::Refused,
        ),
        way(
            "fast open, in the SYN (`TCP_FASTOPEN_CONNECT`)",
            "fastopen-write",
            Server::fast_open_sink,
            Expected::Refused,
        ),
        way(
            "a write that waits for the connection",
            "early-write",
            Server::slow_to_connect_sink,
            Expected::Refused,
        ),
        way("a write after one for which there was no room", "after-full", Server::late, Expected::Refused),
        way(
            "a write after one for which there was no memory (`MSG_ZEROCOPY`)",
            "after-no-memory",
            Server::late,
            Expected::Refused,
        ),
        way("MPTCP", "mptcp-write", Server::mptcp_sink, Expected::Refused),
        way("MPTCP to a server without", "mptcp-write", Server::sink, Expected::Refused),
        way(
            "a packet socket (AF_PACKET)",
            "packet",
            Server::udp,
            Expected::Otherwise(Outcome::NotSeen, BELOW_IP),
        ),
    ]
}
