//! Finding TLS libraries without a window: programs that start and end at once, copies of libraries nobody saw
//! before, other mount and process namespaces.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests assert by panicking"
)]

use keymoat_tests::programs::{copy_program, fresh_libssl, libraries, libssl};
use keymoat_tests::{Agent, Client, Expect, FakeKey, Options, Server, env, pki};
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc;

/// Arguments of a curl that sends this key in a header; it is to be run as `curl`.
fn curl_args(server: &Server, key: Option<&FakeKey>) -> Vec<String> {
    let (host, port) = (pki::HOST, server.port);
    let mut args = vec!["-sS".to_owned(), "--http1.1".to_owned(), "--resolve".to_owned()];
    args.push(format!("{host}:{port}:{}", server.address().ip()));
    args.extend(["--cacert".to_owned(), pki::authority().display().to_string()]);
    args.push(format!("https://{host}:{port}/"));
    args.extend(key.iter().flat_map(|key| ["-H".to_owned(), format!("x-api-key: {}", key.reveal())]));
    args
}

fn curl(server: &Server, key: Option<&FakeKey>) -> Command {
    let mut command = Command::new(env::tool("curl"));
    command.args(curl_args(server, key));
    command
}

/// Runs a client for a key and the same one without; both must be the process the agent names.
fn key_is_found_and_its_twin_is_silent(agent: &Agent, client: impl Fn(&Server, Option<&FakeKey>) -> Command) {
    let (server, key) = (Server::https(), FakeKey::anthropic());
    let twin = Client::run(client(&server, None));
    agent.assert_clean(&server, twin.pid);
    let client = Client::run(client(&server, Some(&key)));
    server.wait_for(key.reveal().as_bytes());
    let wanted = Expect::observed(&key).library("openssl").location("header:x-api-key").pid(client.pid);
    agent.expect_once(&wanted.comm("curl").host(pki::HOST, "sni").to(server.address()), &key);
    assert!(agent.unseen_tls(client.pid).is_empty(), "seen, and called unseen");
}

#[test]
fn curl_started_the_instant_the_agent_is_ready() {
    let (server, key) = (Server::https(), FakeKey::anthropic());
    let command = curl(&server, Some(&key));
    let (done, pid) = mpsc::channel();
    let at_ready = move || done.send(Client::run(command).pid).unwrap();
    let agent = Agent::own_then(&Options::default(), at_ready);
    let pid = pid.recv().unwrap();
    agent.expect_once(&Expect::observed(&key).library("openssl").pid(pid).host(pki::HOST, "sni"), &key);
}

#[test]
fn two_hundred_short_lived_curls() {
    let agent = Agent::shared();
    let server = Server::https();
    let keys: Vec<FakeKey> = (0..200).map(|_| FakeKey::anthropic()).collect();
    let pids: Vec<u32> = keys.iter().map(|key| Client::run(curl(&server, Some(key))).pid).collect();
    agent.expect_each_once(&keys);
    for (key, pid) in keys.iter().zip(pids) {
        agent.expect(&Expect::observed(key).pid(pid).comm("curl").location("header:x-api-key"));
    }
}

#[test]
fn fresh_copy_of_the_library_in_a_new_directory() {
    let agent = Agent::shared();
    for _ in 0..3 {
        key_is_found_and_its_twin_is_silent(&agent, |server, key| {
            // Another copy for every run: none was ever mapped before.
            let mut command = curl(server, key);
            command.env("LD_LIBRARY_PATH", fresh_libssl());
            command
        });
    }
}

/// What the library is called or where it lies says nothing: a bundled copy can have any name.
#[test]
fn copy_of_the_library_under_another_name() {
    let agent = Agent::shared();
    key_is_found_and_its_twin_is_silent(&agent, |server, key| {
        let dir = fresh_libssl();
        let renamed = dir.join("libvendored-4f2a.so.1");
        std::fs::rename(dir.join("libssl.so.3"), &renamed).expect("rename");
        let mut command = curl(server, key);
        // Preloaded, its symbols win over those of the system's copy.
        command.env("LD_PRELOAD", renamed);
        command
    });
}

/// A library that exists in a mount namespace only, at a path that does not exist outside.
#[test]
fn other_mount_namespace_with_its_own_library() {
    let agent = Agent::shared();
    key_is_found_and_its_twin_is_silent(&agent, |server, key| {
        let dir = env::fresh_dir("mount");
        let setup = "mount -t tmpfs none \"$1\" && cp \"$2\" \"$1/libssl.so.3\" && shift 2 && exec \"$@\"";
        let mut command = Command::new(env::tool("unshare"));
        command.args(["--mount", "sh", "-c", setup, "sh"]).arg(&dir).arg(libssl());
        command.arg(env::tool("curl")).args(curl_args(server, key)).env("LD_LIBRARY_PATH", &dir);
        command
    });
}

/// The same program under another root: none of its paths means anything outside.
#[test]
fn other_root_directory() {
    let agent = Agent::shared();
    let root = root_with_curl();
    key_is_found_and_its_twin_is_silent(&agent, |server, key| {
        let mut command = Command::new(env::tool("chroot"));
        command.arg(&root).arg("/bin/curl").args(curl_args(server, key)).args(["--cacert", "/authority.pem"]);
        command
    });
}

/// A directory that holds curl and the libraries it needs, all of them copies.
fn root_with_curl() -> PathBuf {
    let root = env::fresh_dir("root");
    let curl = env::tool("curl");
    for library in libraries(&curl) {
        let copy = root.join(library.strip_prefix("/").expect("absolute"));
        std::fs::create_dir_all(copy.parent().expect("a directory")).expect("create a directory");
        copy_program(&library, &copy);
    }
    std::fs::create_dir_all(root.join("bin")).expect("create a directory");
    copy_program(&curl, &root.join("bin/curl"));
    std::fs::copy(pki::authority(), root.join("authority.pem")).expect("copy the authority");
    root
}

/// A process in a namespace of process ids is named by the id this host knows it under.
#[test]
fn other_process_namespace() {
    let agent = Agent::shared();
    let (server, key) = (Server::https(), FakeKey::anthropic());
    let mut command = Command::new(env::tool("unshare"));
    command.args(["--pid", "--fork"]).arg(env::tool("curl")).args(curl_args(&server, Some(&key)));
    let unshare = Client::run(command);
    let finding = agent.expect_once(&Expect::observed(&key).library("openssl").comm("curl"), &key);
    assert_ne!(finding.process.pid, unshare.pid);
    assert_eq!(finding.process.ancestors.first().map(|parent| parent.pid), Some(unshare.pid));
}
