//! The binary itself: exit codes, what stands on which stream, and memory on a stream without end.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::io::Write;
use std::process::{Child, Command, Output, Stdio};

fn keymoat(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keymoat"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = keymoat(arguments).spawn().unwrap();
    // A verb that does not read its input may close it.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// A fake key, put together so that other scanners stay quiet.
fn key() -> String {
    format!("sk-ant-{}03-{}AA", "api", "k9_Z-".repeat(19).get(..93).unwrap())
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn scan_says_clean_findings_or_error_with_its_exit_code() {
    let clean = run(&["scan"], b"nothing\n");
    assert_eq!((clean.status.code(), clean.stdout.len(), clean.stderr.len()), (Some(0), 0, 0));

    let found = run(&["scan", "-", "/nothing/here"], format!("a\n {}\n", key()).as_bytes());
    assert_eq!(found.status.code(), Some(1));
    assert!(text(&found.stdout).starts_with("-:2:2: critical "), "{}", text(&found.stdout));
    assert!(text(&found.stderr).contains("/nothing/here"));
    assert!(!text(&found.stdout).contains(&key()) && !text(&found.stdout).contains('\x1b'));

    let failed = run(&["scan", "/nothing/here"], b"");
    assert_eq!(failed.status.code(), Some(2));
    assert_eq!(run(&["scan", "--nonsense"], b"").status.code(), Some(2));
}

#[test]
fn scan_json_is_one_object_per_line() {
    let found = run(
        &["scan", "--json", "--destination", "hooks.example.com"],
        format!("{0} {0}\n", key()).as_bytes(),
    );
    let lines: Vec<serde_json::Value> =
        text(&found.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert!(lines.iter().all(|l| l["type"] == "finding" && l["action"] == "observed"));
}

#[test]
fn rules_answer_with_exit_codes_too() {
    let list = run(&["rules", "list"], b"");
    assert_eq!(list.status.code(), Some(0));
    assert!(text(&list.stdout).contains("anthropic-api-key"));
    assert_eq!(run(&["rules", "show", "anthropic-api-key"], b"").status.code(), Some(0));
    assert_eq!(run(&["rules", "show", "no-such-rule"], b"").status.code(), Some(2));
    assert_eq!(run(&["rules", "check", "/nothing/here.toml"], b"").status.code(), Some(2));
}

#[test]
fn a_configuration_error_has_a_place_and_no_secret() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("agent.toml");
    std::fs::write(&config, "mode = \"detect\"\nfleet_key = \"hunter2\"\n").unwrap();
    for verb in ["agent", "scan"] {
        let output = run(&[verb, "--config", config.to_str().unwrap()], b"");
        assert_eq!(output.status.code(), Some(2), "{verb}");
        let error = text(&output.stderr);
        assert!(error.contains("agent.toml:2:1: ") && error.contains("fleet_key_file"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

/// The most memory a process ever had resident, in KiB.
fn peak(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// 256 MiB through a pipe, one line without end, with a key in every MiB. Memory stays what it was after the first.
#[test]
fn scan_reads_a_stream_of_any_size_in_the_same_memory() {
    const MIB: usize = 1 << 20;
    let mut block = vec![b'x'; MIB];
    block[MIB / 2 - 1] = b' ';
    block[MIB / 2..MIB / 2 + 108].copy_from_slice(key().as_bytes());
    block[MIB / 2 + 108] = b' ';

    let mut child = keymoat(&["scan", "--json"]).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || std::io::read_to_string(&mut stdout).unwrap());
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&block).unwrap();
    // What was written is read up to what fits into the pipe.
    let early = peak(&child);
    for _ in 1..256 {
        stdin.write_all(&block).unwrap();
    }
    let late = peak(&child);
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(reader.join().unwrap().lines().count(), 256);
    assert!(late < early + 4096, "{early} KiB after the first MiB, {late} KiB after 256");
}

/// The agent asks the kernel something on a thread, joins it, and gives up its capabilities, for which it must be alone: a
/// thread that was joined is still listed for a moment. One start in ten failed on a busy machine.
#[test]
fn the_agent_gives_up_its_privileges_at_every_start() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(file("key"), "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff").unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(file("key"), private).unwrap();
    // Ends the agent just after that step: what is a file can be no directory.
    let config = format!("fleet_key_file = {:?}\nstatus_file = {:?}\n", file("key"), file("key/status.json"));
    std::fs::write(file("agent.toml"), config).unwrap();
    for _ in 0..40 {
        let output = run(&["agent", "--config", &file("agent.toml")], b"");
        let said = text(&output.stderr);
        assert!(said.contains("cannot make the directory") || said.contains("missing CAP_"), "{said}");
    }
}
