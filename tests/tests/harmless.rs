//! Being watched changes nothing for the program that is: what it reads, what its calls return, how it ends.

use keymoat_tests::{Agent, Client, Options, Server, env};
use std::process::Command;

/// A program whose blocked read is woken by something that is not data gets its answer all the same.
fn gets_its_answer(how: &str) {
    let agent = Agent::shared();
    let server = Server::late();
    let mut command = Command::new(env::bin("km-reader", "keymoat-tests"));
    command.arg(how).arg(server.address().to_string());
    let client = Client::run(command);
    agent.assert_clean(&server, client.pid);
}

#[test]
fn blocked_read_after_the_program_closed_its_own_side() {
    gets_its_answer("half-close");
}

#[test]
fn blocked_read_while_another_thread_waits_for_room_to_write() {
    gets_its_answer("full-duplex");
}

#[test]
fn blocked_read_interrupted_by_a_signal() {
    gets_its_answer("signal");
}

/// An agent that comes and goes leaves connections as they were.
#[test]
fn connection_outlives_the_agent() {
    let server = Server::late();
    let mut command = Command::new(env::bin("km-reader", "keymoat-tests"));
    command.arg("half-close").arg(server.address().to_string());
    let agent = Agent::own(&Options::default());
    let client = Client::start(command);
    assert!(agent.stop().success(), "the agent did not end well");
    client.finish();
}
