//! One method after another: real clients under each that this kernel takes. Where it does not take one, the agent says so.

use keymoat_tests::agent::keymoat;
use keymoat_tests::cases::{Case, Invocation};
use keymoat_tests::commands::*;
use keymoat_tests::programs::{self, Linked};
use keymoat_tests::{
    Agent, Client, Expect, FakeKey, Options, Script, Server, http1_clients, pki, protocol_clients, script,
};
use std::process::Command;
use std::sync::OnceLock;

// Tests run in the order of their names: those with the same settings share an agent.

/// The tables' entries by name.
macro_rules! constants {
    ($($name:ident: $case:expr,)*) => {
        $(#[allow(non_upper_case_globals, reason = "named as the tests are")]
        pub const $name: Case = $case;)*
    };
}

#[allow(dead_code, reason = "some of each table")]
mod table {
    use super::*;
    http1_clients!(constants);
    protocol_clients!(constants);
}

/// Each client becomes two tests.
macro_rules! under {
    ($module:ident, $method:literal: $($name:ident,)*) => {
        mod $module {
            use super::*;
            $(mod $name {
                use super::*;
                #[test]
                fn key_is_refused() {
                    with($method, |options| table::$name.is_refused_by(options));
                }
                #[test]
                fn same_request_without_key_is_served() {
                    with($method, |options| table::$name.is_served_without_by(options));
                }
            })*
        }
    };
}

under!(signal, "signal":
    curl_header, curl_http2_header, curl_http2_body, python_urllib_header, python_requests, python_asyncio, node_https,
    openssl_s_client, openssl_write_ex, gnutls_send, gnutls_send_range, netcat_tcp, netcat_udp,
);
under!(return_override, "return-override":
    curl_header, curl_http2_header, curl_http2_body, python_urllib_header, python_requests, python_asyncio, node_https,
    openssl_s_client, openssl_write_ex, gnutls_send, gnutls_send_range, netcat_tcp, netcat_udp,
);
under!(sk_msg, "sk-msg":
    curl_header, curl_http2_header, python_asyncio, node_https, gnutls_send,
);

/// Runs a test with settings that force a method; or, where the kernel does not take that, makes sure the agent says so.
fn with(method: &str, test: impl FnOnce(&Options)) {
    if method != "return-override" || overrides() {
        return test(&Options::stopping(method));
    }
    static SAID: OnceLock<(Option<i32>, String)> = OnceLock::new();
    let (status, said) = SAID.get_or_init(|| {
        // Of two agents that block, the second one does not get as far.
        let _alone = Agent::nobody();
        keymoat(&["agent", "--mode", "block", "--enforcement", "return-override"]).expect("run keymoat agent")
    });
    assert!(status.is_some_and(|status| status != 0), "{said}");
    assert!(said.contains("does not take `--enforcement return-override`"), "{said}");
    assert!(said.contains("keymoat doctor"), "what to do: {said}");
}

/// Kernels that let uprobe programs write registers: of those that the tests run on, the newest.
fn overrides() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    release.split('.').next().and_then(|major| major.parse::<u32>().ok()).is_some_and(|major| major >= 7)
}

#[test]
fn best_method_that_the_kernel_takes_is_used() {
    let agent = Agent::shared_as(&Options::blocking());
    let best = if overrides() { "return-override" } else { "sk-msg" };
    assert_eq!(agent.ready().enforcement.as_deref(), Some(best));
    let (_, said) = keymoat(&["doctor"]).expect("run keymoat doctor");
    assert!(said.contains(&format!("Enforcement:  {best}")), "{said}");
    let mark = if overrides() { '✓' } else { '✗' };
    assert!(said.contains(&format!("{mark} return-override")), "{said}");
    assert!(
        said.contains("✓ sk-msg") && said.contains("✓ signal") && said.contains("✓ cgroup-skb"),
        "{said}"
    );
}

/// Two requests with a key are refused, and two without are served, on one connection.
fn goes_on(client: impl FnOnce(&Server, &FakeKey) -> Command, server: fn() -> Server, said: &str) {
    with("return-override", |options| {
        let agent = Agent::shared_as(options);
        let before = agent.losses();
        let (server, key) = (server(), FakeKey::anthropic());
        let client = Client::run(client(&server, &key));
        let words: Vec<&str> = client.stdout.split_whitespace().collect();
        assert_eq!(words.join(" "), said, "{}", client.stderr);
        server.wait_for_count(2);
        let received = server.received();
        assert_eq!(received.len(), 2, "the requests without the key");
        assert_eq!(received.first().map(|one| one.from), received.last().map(|one| one.from));
        server.assert_never(key.reveal().as_bytes());
        let wanted = Expect::key(&key).action("blocked").pid(client.pid).to(server.address());
        let finding = agent.expect(&wanted.location("header:x-api-key"));
        assert_eq!(finding.enforcement.as_deref(), Some("return-override"));
        agent.settle();
        agent.assert_count(&key, 1);
        agent.assert_no_loss_since(&before);
    });
}

fn one_connection(kind: &str, server: &Server, key: &FakeKey) -> Command {
    let mut command = Command::new(python_with_requests());
    command.arg(program("same_connection_client.py")).arg(kind).args(named(server)).arg(authority());
    command.envs(key_variable(Some(key)));
    command
}

/// Its twins are the programs that go on, below.
#[test]
fn a_program_that_ignores_the_error_does_not_wait_for_ever() {
    let agent = Agent::shared_as(&Options::blocking());
    let (server, key) = (Server::https(), FakeKey::anthropic());
    let client = Client::run(one_connection("deaf", &server, &key));
    assert_eq!(client.stdout.trim(), "ended", "{}", client.stderr);
    agent.expect(&Expect::key(&key).action("blocked").pid(client.pid).to(server.address()));
    server.assert_never(key.reveal().as_bytes());
}

mod return_override_goes_on {
    use super::*;

    const SERVED_AND_REFUSED: &str = "refused served refused served";

    #[test]
    fn of_a_socket() {
        goes_on(|server, key| one_connection("socket", server, key), Server::https, SERVED_AND_REFUSED);
    }

    #[test]
    fn of_memory_buffers() {
        goes_on(|server, key| one_connection("memory", server, key), Server::https, SERVED_AND_REFUSED);
    }

    #[test]
    fn of_http2() {
        goes_on(|server, key| one_connection("http2", server, key), Server::http2, SERVED_AND_REFUSED);
    }

    fn requests(key: &FakeKey) -> std::path::PathBuf {
        let [with, without] = [Some(key), None].map(|key| script::request(key, b"{}"));
        Script::of(with.clone()).then(without.clone()).then(with).then(without).save()
    }

    #[test]
    fn of_ssl_write() {
        let client = |server: &Server, key: &FakeKey| {
            let mut client =
                programs::openssl_client(Linked::Shared, server.address(), pki::HOST, &requests(key));
            client.arg("on");
            client
        };
        goes_on(client, Server::https, "refused refused done");
    }

    #[test]
    fn of_ssl_write_ex() {
        let client = |server: &Server, key: &FakeKey| {
            let mut client =
                programs::openssl_client(Linked::Shared, server.address(), pki::HOST, &requests(key));
            client.args(["ex", "on"]);
            client
        };
        goes_on(client, Server::https, "refused refused done");
    }

    #[test]
    fn of_gnutls() {
        let client = |server: &Server, key: &FakeKey| {
            let mut client = programs::gnutls_client("send", server.address(), pki::HOST, &requests(key));
            client.arg("on");
            client
        };
        goes_on(client, Server::https, "refused refused done");
    }
}
