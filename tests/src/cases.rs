//! A table of real clients: each sends a key and is found, or refused; and sends the same request without one and is not.

use crate::{Agent, Client, Expect, FakeKey, Options, Server};
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

/// One client: where it sends to, how it is started, what a finding must say.
pub struct Case {
    pub server: fn() -> Server,
    pub client: fn(&Server, Option<&FakeKey>) -> Invocation,
    pub expect: fn(Expect, &Server) -> Expect,
}

/// A command and what it reads from standard input.
pub struct Invocation {
    pub command: Command,
    pub input: Vec<u8>,
}

impl From<Command> for Invocation {
    fn from(command: Command) -> Self {
        Self { command, input: Vec::new() }
    }
}

impl Case {
    pub fn finds_the_key(&self) {
        let agent = Agent::shared();
        let before = agent.losses();
        let (server, key) = ((self.server)(), FakeKey::anthropic());
        let Invocation { command, input } = (self.client)(&server, Some(&key));
        let client = Client::run_with(command, &input);
        server.wait_for(key.reveal().as_bytes());
        let expect = Expect::observed(&key).pid(client.pid).to(server.address());
        agent.expect_once(&(self.expect)(expect, &server), &key);
        agent.assert_no_loss_since(&before);
    }

    /// The receiver never has the key, the client ends by itself, and what it sends next is served.
    pub fn is_refused(&self) {
        self.is_refused_by(&Options::blocking());
    }

    /// The same by an agent with these settings. With `signal` the client does not end by itself: it is killed.
    pub fn is_refused_by(&self, options: &Options) {
        let agent = Agent::shared_as(options);
        let before = agent.losses();
        let (server, key) = ((self.server)(), FakeKey::anthropic());
        let Invocation { command, input } = (self.client)(&server, Some(&key));
        let mut client = Client::start(command);
        client.try_say(&input);
        let client = client.end();
        let expect = Expect::key(&key).action("blocked").pid(client.pid).to(server.address());
        let finding = agent.expect(&(self.expect)(expect, &server));
        let method = agent.method(&finding.channel.kind);
        assert_eq!(finding.enforcement.as_ref(), Some(&method));
        let killed = (method == "signal").then_some(libc::SIGKILL);
        assert_eq!(client.status.signal(), killed, "how the client ended: {}", client.stderr);
        agent.settle();
        for other in agent.findings_of(&key) {
            assert_eq!(other.action, "blocked", "{:?}", other.facts());
        }
        server.assert_never(key.reveal().as_bytes());
        agent.assert_silent_about(&key);
        agent.assert_no_loss_since(&before);
    }

    pub fn is_served_without(&self) {
        self.is_served_without_by(&Options::blocking());
    }

    pub fn is_served_without_by(&self, options: &Options) {
        self.is_clean_without(&Agent::shared_as(options));
    }

    pub fn is_silent_without(&self) {
        let agent = Agent::shared();
        let pid = self.is_clean_without(&agent);
        assert!(agent.unseen_tls(pid).is_empty(), "a client with a probe counts as unseen");
    }

    /// Gives the client's process id.
    fn is_clean_without(&self, agent: &Agent) -> u32 {
        let server = (self.server)();
        let Invocation { command, input } = (self.client)(&server, None);
        let client = Client::run_with(command, &input);
        server.wait_for_count(1);
        agent.assert_clean(&server, client.pid);
        client.pid
    }
}

/// Each entry becomes two tests.
#[macro_export]
macro_rules! clients {
    ($($name:ident: $case:expr,)*) => {
        $(mod $name {
            use super::*;
            const CASE: $crate::cases::Case = $case;
            #[test]
            fn key_is_found() {
                CASE.finds_the_key();
            }
            #[test]
            fn same_request_without_key_is_silent() {
                CASE.is_silent_without();
            }
        })*
    };
}

/// Each entry becomes two tests of an agent that blocks.
#[macro_export]
macro_rules! refused {
    ($($name:ident: $case:expr,)*) => {
        $(mod $name {
            use super::*;
            const CASE: $crate::cases::Case = $case;
            #[test]
            fn key_is_refused() {
                CASE.is_refused();
            }
            #[test]
            fn same_request_without_key_is_served() {
                CASE.is_served_without();
            }
        })*
    };
}
