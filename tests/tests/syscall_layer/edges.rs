//! What programs may do with sockets and calls: where the bytes go, and that they go at all, is known all the same.

use super::{python, shared};
use keymoat_tests::{Client, Expect, FakeKey, Finished, Server};

/// Runs a Python program that connects to this server and sends its standard input in a way of its own.
fn run(program: &str, server: &Server, text: &str) -> Finished {
    let mut command = python(program);
    command.args([server.address().ip().to_string(), server.port.to_string()]);
    Client::run_with(command, format!("key={text} end\n").as_bytes())
}

fn key_is_found_where_it_went(program: &str) {
    let (agent, server, key) = (shared(), Server::sink(), FakeKey::anthropic());
    let twin = run(program, &server, "nothing-secret");
    agent.assert_clean(&server, twin.pid);
    let client = run(program, &server, key.reveal());
    server.wait_for(key.reveal().as_bytes());
    agent.expect_once(&Expect::observed(&key).kind("tcp").pid(client.pid).to(server.address()), &key);
}

/// Programs that do not wait ask again whether they are connected; that they are is an error to the kernel.
#[test]
fn connect_called_again_changes_no_destination() {
    key_is_found_where_it_went(
        "
import errno, socket, sys
address = sys.argv[1], int(sys.argv[2])
connection = socket.create_connection(address)
assert connection.connect_ex(address) == errno.EISCONN
connection.sendall(sys.stdin.buffer.read())
",
    );
}

/// TCP sends to its peer, whatever address a call names.
#[test]
fn address_in_a_call_is_nothing_to_tcp() {
    key_is_found_where_it_went(
        "
import socket, sys
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))
connection.sendto(sys.stdin.buffer.read(), ('127.0.0.1', 9))
",
    );
}

/// One more call that writes, to a socket as well when it names no position.
#[test]
fn pwritev2() {
    key_is_found_where_it_went(
        "
import os, socket, sys
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))
NO_POSITION = -1
os.pwritev(connection.fileno(), [sys.stdin.buffer.read()], NO_POSITION)
",
    );
}
