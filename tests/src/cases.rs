//! A table of real clients: each sends a key and is found, and sends the same request without one and is not.

use crate::{Agent, Client, Expect, FakeKey, Server};
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

    pub fn is_silent_without(&self) {
        let agent = Agent::shared();
        let server = (self.server)();
        let Invocation { command, input } = (self.client)(&server, None);
        let client = Client::run_with(command, &input);
        server.wait_for_count(1);
        agent.assert_clean(&server, client.pid);
        assert!(agent.unseen_tls(client.pid).is_empty(), "a client with a probe counts as unseen");
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
