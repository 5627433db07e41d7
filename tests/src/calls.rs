//! The same two tests for every system call that sends in the clear, whichever way the agent watches it.

use crate::programs::km_client;
use crate::{Agent, Client, Expect, FakeKey, Script, Server};

/// Each name becomes two tests: a key over IPv4 and one over IPv6 are found; the same bytes without are silent.
///
/// `$agent` is the agent that looks on, `$note` makes the script a client sends out of the text that counts.
#[macro_export]
macro_rules! calls {
    ($module:ident, $agent:expr, $note:expr, $server:expr, $kind:literal, $($name:ident => $call:literal,)*) => {
        mod $module {
            use super::*;
            $(mod $name {
                use super::*;
                #[test]
                fn key_is_found() {
                    $crate::calls::finds_keys(&$agent, $note, $call, $kind, &$server);
                }
                #[test]
                fn clean_bytes_are_silent() {
                    $crate::calls::is_silent(&$agent, $note, $call, &$server);
                }
            })*
        }
    };
}

pub fn finds_keys(agent: &Agent, note: fn(&str) -> Script, call: &str, kind: &str, server: &Server) {
    let location = if kind == "udp" { "datagram" } else { "stream" };
    let before = agent.losses();
    for address in [server.address(), server.address6()] {
        let key = FakeKey::anthropic();
        let client = Client::run(km_client(call, address, &note(key.reveal()).save()));
        server.wait_for(key.reveal().as_bytes());
        let wanted = Expect::observed(&key).kind(kind).location(location).comm("km-client").pid(client.pid);
        agent.expect_once(&wanted.to(address).only_address(), &key);
    }
    agent.assert_no_loss_since(&before);
}

pub fn is_silent(agent: &Agent, note: fn(&str) -> Script, call: &str, server: &Server) {
    for address in [server.address(), server.address6()] {
        let client = Client::run(km_client(call, address, &note("nothing-secret").save()));
        agent.assert_clean(server, client.pid);
    }
    server.wait_for(b"nothing-secret");
}

/// Three writes, so that calls taking several buffers have several; the key is in the last, so that the
/// second message of a `sendmmsg` counts too.
pub fn note(text: &str) -> Script {
    Script::of("first ").then("second ").then(format!("key={text} end\n"))
}
