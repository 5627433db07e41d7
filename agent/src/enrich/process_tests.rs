use super::*;
use std::process::{Child, Command, Stdio};

fn table() -> ProcessTable {
    ProcessTable::new(crate::enrich::detector(), Counters::default())
}

fn key() -> String {
    format!("sk-ant-{}03-{}AA", "api", "k9_Z-".repeat(19).get(..93).unwrap())
}

/// A program that waits until its standard input closes.
fn waiting(arguments: &[&str]) -> Child {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "read line", "sh"]).args(arguments);
    let child = command.stdin(Stdio::piped()).spawn().unwrap();
    // The child is forked before it is the new program.
    while !std::fs::read_to_string(format!("/proc/{}/cmdline", child.id())).unwrap().contains("read line") {
        std::thread::yield_now();
    }
    child
}

fn end(mut child: Child) {
    drop(child.stdin.take());
    child.wait().unwrap();
}

fn gone(table: &ProcessTable) -> u64 {
    table.counters.snapshot().get("process-gone").copied().unwrap_or(0)
}

#[test]
fn facts_of_a_running_process_with_its_secrets_redacted() {
    let table = table();
    let header = format!("x-api-key: {}", key());
    let child = waiting(&["--header", &header, "--password", "hunter2", "Authorization: Bearer opaque"]);
    table.exec(child.id());
    let facts = table.facts(child.id(), "worker");
    assert_eq!((facts.pid, facts.comm.as_str()), (child.id(), "worker"));
    assert!(facts.exe.unwrap().starts_with('/'));
    assert_eq!(
        facts.cmdline[3..],
        ["sh", "--header", "x-api-key: sk-ant-api…(108)", "--password", "***", "Authorization: Bearer ***"]
    );
    assert_eq!(facts.uid, Some(rustix::process::geteuid().as_raw()));
    assert_eq!(facts.ancestors[0].pid, std::process::id());
    assert!(facts.ancestors.len() >= 2, "{:?}", facts.ancestors);
    assert_eq!(table.facts(child.id(), "").comm, "sh");
    assert_eq!(gone(&table), 0);
    end(child);
}

#[test]
fn a_process_is_explained_after_it_is_gone() {
    let table = table();
    let child = waiting(&["marker"]);
    let pid = child.id();
    table.fork(std::process::id(), pid);
    table.exec(pid);
    end(child);
    table.exit(pid);
    let facts = table.facts(pid, "sh");
    assert!(facts.cmdline.contains(&"marker".to_owned()), "{facts:?}");
    assert_eq!(facts.ancestors[0].pid, std::process::id());
    assert_eq!(gone(&table), 0);
}

#[test]
fn a_forked_child_is_its_parent_until_it_is_something_else() {
    let table = table();
    table.exec(std::process::id());
    let own = table.facts(std::process::id(), "");
    // A pid that cannot be in use.
    let child = u32::MAX >> 1;
    table.fork(std::process::id(), child);
    let facts = table.facts(child, &own.comm);
    assert_eq!((facts.exe, &facts.cmdline), (own.exe, &own.cmdline));
    assert_eq!(facts.ancestors[0].pid, std::process::id());
    assert_eq!(gone(&table), 0);

    // Another name: it ran something else that nobody could look at.
    let facts = table.facts(child, "other");
    assert_eq!((facts.comm.as_str(), facts.exe), ("other", None));
    assert_eq!(gone(&table), 1);

    table.exec(child);
    let facts = table.facts(child, &own.comm);
    assert_eq!((facts.exe, facts.cmdline.len()), (None, 0));
    assert_eq!(facts.ancestors[0].pid, std::process::id(), "who started it is still known");
    assert_eq!(gone(&table), 2);
}

#[test]
fn a_chain_goes_through_parents_that_ended() {
    let table = table();
    let (shell, child) = (u32::MAX >> 1, (u32::MAX >> 1) - 1);
    table.exec(std::process::id());
    table.fork(std::process::id(), shell);
    table.fork(shell, child);
    table.exit(shell);
    let pids: Vec<u32> = table.facts(child, "x").ancestors.iter().map(|a| a.pid).collect();
    assert_eq!(pids[..2], [shell, std::process::id()]);
}

#[test]
fn an_unknown_pid_is_the_kernels_name_and_a_counted_loss() {
    let table = table();
    let facts = table.facts(u32::MAX, "ghost");
    assert_eq!((facts.comm.as_str(), facts.exe, facts.ancestors.len()), ("ghost", None, 0));
    assert_eq!(gone(&table), 1);
}

#[test]
fn another_program_under_the_same_pid_is_noticed() {
    let table = table();
    let child = waiting(&["real"]);
    let stale = Known { ppid: 1, comm: Some("old".to_owned()), started: Some(1), image: None };
    table.store(child.id(), stale);
    assert!(table.facts(child.id(), "").cmdline.contains(&"real".to_owned()));
    end(child);
}

#[test]
fn a_parent_is_never_younger_than_its_child() {
    let table = table();
    let orphan = u32::MAX >> 1;
    let child = waiting(&[]);
    // The pid of the orphan's parent belongs to somebody younger by now.
    table
        .store(orphan, Known { ppid: child.id(), comm: Some("x".to_owned()), started: Some(1), image: None });
    assert!(table.facts(orphan, "x").ancestors.is_empty());
    end(child);
}

#[test]
fn the_seed_knows_this_process() {
    let table = table();
    table.seed();
    assert!(table.get(std::process::id()).is_some_and(|known| known.image.is_some()));
}

#[test]
fn many_threads_share_it() {
    let table = table();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for pid in 1..200 {
                    table.fork(std::process::id(), 1_000_000_000 + pid);
                    table.facts(std::process::id(), "");
                    table.exit(1_000_000_000 + pid);
                }
            });
        }
    });
}
