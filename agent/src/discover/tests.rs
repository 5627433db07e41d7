//! On the running kernel, with real programs; as root, for the notifications.

use super::*;
use crate::placement::Kind;
use crate::probes::TlsLibrary;
use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{self, Sender};
use std::time::Instant;

const LIBSSL: &str = "/usr/lib/x86_64-linux-gnu/libssl.so.3";
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
struct Attached {
    inode: u64,
    program: &'static str,
    file_offset: u64,
    at: Instant,
    detached: bool,
}

/// Records what would be attached.
#[derive(Clone, Default)]
struct Recorder {
    attached: Arc<Mutex<Vec<Attached>>>,
    refuse: Arc<Mutex<HashMap<u64, &'static str>>>,
}

impl Attach for Recorder {
    fn attach(
        &mut self,
        file: &File,
        program: &'static str,
        file_offset: u64,
        _cookie: Option<u64>,
    ) -> Result<AttachId, AttachError> {
        let inode = file.metadata().unwrap().ino();
        if let Some(reason) = self.refuse.lock().unwrap().get(&inode) {
            return Err(AttachError((*reason).into()));
        }
        let mut attached = self.attached.lock().unwrap();
        attached.push(Attached { inode, program, file_offset, at: Instant::now(), detached: false });
        Ok(AttachId(attached.len() as u64 - 1))
    }

    fn detach(&mut self, id: AttachId) {
        self.attached.lock().unwrap()[id.0 as usize].detached = true;
    }
}

impl Recorder {
    fn of(&self, inode: u64) -> Vec<Attached> {
        self.attached.lock().unwrap().iter().filter(|a| a.inode == inode && !a.detached).cloned().collect()
    }
}

#[derive(Default)]
struct Lives(Mutex<Vec<(&'static str, u32)>>);

impl ProcessEvents for Lives {
    fn exec(&self, pid: u32) -> bool {
        self.0.lock().unwrap().push(("exec", pid));
        true
    }
    fn fork(&self, _: u32, child: u32) {
        self.0.lock().unwrap().push(("fork", child));
    }
    fn exit(&self, pid: u32) {
        self.0.lock().unwrap().push(("exit", pid));
    }
}

struct Setup {
    recorder: Recorder,
    lives: Arc<Lives>,
    hellos: Sender<Hello>,
    unseen: mpsc::Receiver<UnseenTls>,
    counters: Counters,
    discovery: Discovery,
    dir: tempfile::TempDir,
}

fn setup() -> Setup {
    let (recorder, lives, counters) = (Recorder::default(), Arc::<Lives>::default(), Counters::default());
    let (hellos, receiver) = mpsc::channel();
    let (sender, unseen) = mpsc::channel();
    let discovery = Discovery::start(
        Box::new(recorder.clone()),
        lives.clone(),
        receiver,
        Box::new(move |report| sender.send(report).unwrap()),
        counters.clone(),
        Options::default(),
    )
    .unwrap();
    assert_eq!(*discovery.source(), Source::Notifications, "these tests need root");
    Setup { recorder, lives, hellos, unseen, counters, discovery, dir: tempfile::tempdir().unwrap() }
}

impl Setup {
    /// A copy of libssl in a directory nobody has seen.
    fn libssl(&self, name: &str) -> (PathBuf, u64) {
        let path = self.dir.path().join(name);
        std::fs::copy(LIBSSL, &path).unwrap();
        let inode = std::fs::metadata(&path).unwrap().ino();
        (path, inode)
    }

    fn hello(&self, pid: u32) {
        self.hellos
            .send(Hello { pid, comm: "test".to_owned(), destination: Destination::default() })
            .unwrap();
    }
}

#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn sleeper_with(library: &Path) -> Child {
    Command::new("sleep").arg("60").env("LD_PRELOAD", library).stderr(Stdio::null()).spawn().unwrap()
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn well_known_libraries_are_ready_before_anyone_maps_them() {
    let setup = setup();
    let libssl = setup.recorder.of(std::fs::metadata(LIBSSL).unwrap().ino());
    assert!(libssl.iter().any(|a| a.program == "openssl_write"), "{libssl:?}");
    assert!(libssl.iter().any(|a| a.program == "openssl_write_ex"), "{libssl:?}");
    let reports = setup.discovery.inventory();
    let gnutls = reports.iter().find(|r| r.libraries == [TlsLibrary::GnuTls]).unwrap();
    assert!(gnutls.functions.iter().any(|f| f.symbol == "gnutls_record_send" && f.error.is_none()));
    println!("{}", serde_json::to_string_pretty(&reports).unwrap());
}

#[test]
fn no_function_is_attached_twice() {
    let setup = setup();
    let (copy, inode) = setup.libssl("libssl.so.3");
    std::fs::hard_link(&copy, setup.dir.path().join("other-name.so")).unwrap();
    let (a, b) = (sleeper_with(&copy), sleeper_with(&setup.dir.path().join("other-name.so")));
    eventually("attached", || !setup.recorder.of(inode).is_empty());
    let (last, last_inode) = setup.libssl("last.so");
    let c = sleeper_with(&last);
    eventually("the last one is attached", || !setup.recorder.of(last_inode).is_empty());
    let mut offsets: Vec<_> = setup.recorder.of(inode).iter().map(|a| a.file_offset).collect();
    let all = offsets.len();
    offsets.sort_unstable();
    offsets.dedup();
    assert_eq!(offsets.len(), all);
    [a, b, c].into_iter().for_each(end);
}

#[test]
fn a_fresh_copy_is_attached_as_soon_as_it_is_mapped() {
    let setup = setup();
    let mut latencies = Vec::new();
    for round in 0..20 {
        let (copy, inode) = setup.libssl(&format!("libssl-{round}.so"));
        let start = Instant::now();
        let mut curl = Command::new("curl")
            .arg("--version")
            .env("LD_PRELOAD", &copy)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        curl.wait().unwrap();
        let lived = start.elapsed();
        eventually("attached", || !setup.recorder.of(inode).is_empty());
        let first = setup.recorder.of(inode).iter().map(|a| a.at).min().unwrap();
        latencies.push((first.saturating_duration_since(start), lived));
    }
    latencies.sort_unstable();
    println!("from spawn to the first attach, and the life of the program: {latencies:?}");
    let counted = setup.counters.snapshot();
    assert_eq!(counted.get("attach-failed"), None, "{counted:?}");
}

/// Maps a page of the file as code, as the dynamic linker would.
fn map_as_code(path: &Path) {
    use std::os::fd::AsRawFd;
    let file = File::open(path).unwrap();
    let (protection, flags) = (libc::PROT_READ | libc::PROT_EXEC, libc::MAP_PRIVATE);
    // SAFETY: a new mapping at an address of the kernel's choice; nothing refers to it, now or later.
    let mapped = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, file.as_raw_fd(), 0) };
    assert_ne!(mapped, libc::MAP_FAILED);
}

#[test]
fn from_mapping_to_attaching() {
    let setup = setup();
    let mut latencies: Vec<_> = (0..50)
        .map(|round| {
            let (copy, inode) = setup.libssl(&format!("libssl-{round}.so"));
            let start = Instant::now();
            map_as_code(&copy);
            eventually("attached", || !setup.recorder.of(inode).is_empty());
            let first = setup.recorder.of(inode).iter().map(|a| a.at).min().unwrap();
            first.saturating_duration_since(start)
        })
        .collect();
    latencies.sort_unstable();
    println!("from mmap to the first attach: {latencies:?}");
}

#[test]
fn a_deleted_library_is_reached_through_the_mapping() {
    let setup = setup();
    let (copy, inode) = setup.libssl("libssl.so.3");
    // Unknown until it is mapped; then the name is gone, and the shell that mapped it waits.
    let child = Command::new("sh")
        .args(["-c", "rm \"$1\"; read line", "sh"])
        .arg(&copy)
        .env("LD_PRELOAD", &copy)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("attached", || !setup.recorder.of(inode).is_empty());
    end(child);
}

#[test]
fn a_library_rewritten_in_place_loses_its_probes_at_once() {
    let setup = setup();
    let (copy, inode) = setup.libssl("libssl.so.3");
    let child = sleeper_with(&copy);
    eventually("attached", || !setup.recorder.of(inode).is_empty());
    end(child);
    let before = setup.recorder.of(inode);
    std::fs::write(&copy, "no longer a library").unwrap();
    eventually("detached", || setup.recorder.of(inode).is_empty());
    eventually("gone from the inventory", || !setup.discovery.inventory().iter().any(|r| r.inode == inode));
    std::fs::copy(LIBSSL, &copy).unwrap();
    let child = sleeper_with(&copy);
    eventually("attached again", || setup.recorder.of(inode).len() == before.len());
    end(child);
}

#[test]
fn starts_and_ends_are_told() {
    let setup = setup();
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let pid = child.id();
    eventually("exec before exit", || {
        let lives = setup.lives.0.lock().unwrap();
        let own: Vec<_> = lives.iter().filter(|(_, p)| *p == pid).map(|(what, _)| *what).collect();
        own.contains(&"exec") && own.last() == Some(&"exit")
    });
}

/// A child just spawned may not have become its program yet, and is what its parent is until then.
fn running_sleep(setup: &Setup) -> Child {
    let child = Command::new("sleep").arg("60").spawn().unwrap();
    eventually("exec is told", || setup.lives.0.lock().unwrap().contains(&("exec", child.id())));
    let maps = format!("/proc/{}/maps", child.id());
    eventually("mapped", || std::fs::read_to_string(&maps).unwrap().contains("/sleep"));
    child
}

#[test]
fn unseen_tls_is_reported_once_per_process() {
    let setup = setup();
    let child = running_sleep(&setup);
    setup.hello(child.id());
    setup.hello(child.id());
    let report = setup.unseen.recv_timeout(PATIENCE).unwrap();
    assert_eq!(report.process.pid, child.id());
    assert!(report.process.exe.as_deref().is_some_and(|exe| exe.ends_with("sleep")), "{report:?}");
    assert!(report.reason.contains("no probe"), "{report:?}");
    let other = running_sleep(&setup);
    setup.hello(other.id());
    assert_eq!(setup.unseen.recv_timeout(PATIENCE).unwrap().process.pid, other.id());
    end(child);
    end(other);
}

#[test]
fn a_process_that_is_gone_is_still_judged_by_what_it_mapped() {
    let setup = setup();
    let (copy, _) = setup.libssl("libssl.so.3");
    let with = Command::new("true").env("LD_PRELOAD", &copy).spawn().unwrap();
    let without = Command::new("true").spawn().unwrap();
    let pids = (with.id(), without.id());
    for mut child in [with, without] {
        child.wait().unwrap();
    }
    setup.hello(pids.0);
    setup.hello(pids.1);
    let report = setup.unseen.recv_timeout(PATIENCE).unwrap();
    assert_eq!(report.process.pid, pids.1, "{report:?}");
    assert!(setup.unseen.recv_timeout(Duration::from_millis(300)).is_err());
}

#[test]
fn a_library_that_cannot_be_probed_is_named() {
    let setup = setup();
    let (copy, inode) = setup.libssl("libssl.so.3");
    setup.recorder.refuse.lock().unwrap().insert(inode, "no such luck");
    let child = sleeper_with(&copy);
    eventually("in the inventory", || setup.discovery.inventory().iter().any(|r| r.inode == inode));
    setup.hello(child.id());
    let report = setup.unseen.recv_timeout(PATIENCE).unwrap();
    assert!(report.reason.contains("no such luck") && report.reason.contains("libssl"), "{report:?}");
    assert!(setup.counters.snapshot().get("attach-failed").is_some_and(|n| *n > 0));
    end(child);
}

#[test]
fn one_library_under_two_overlays_is_attached_once() {
    let setup = setup();
    let at = |name: &str| {
        let path = setup.dir.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    };
    std::fs::copy(LIBSSL, at("lower").join("libssl.so.3")).unwrap();
    let inode = std::fs::metadata(at("lower").join("libssl.so.3")).unwrap().ino();
    let mut children = Vec::new();
    for name in ["a", "b"] {
        let (upper, work, merged) = (at(&format!("{name}-up")), at(&format!("{name}-w")), at(name));
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            at("lower").display(),
            upper.display(),
            work.display()
        );
        let mounted = Command::new("mount")
            .args(["-t", "overlay", "overlay", "-o", &options])
            .arg(&merged)
            .status()
            .unwrap();
        assert!(mounted.success(), "overlayfs is needed here");
        children.push((sleeper_with(&merged.join("libssl.so.3")), merged));
    }
    eventually("attached", || !setup.recorder.of(inode).is_empty());
    let (last, last_inode) = setup.libssl("last.so");
    end(sleeper_until(&setup, &last, last_inode));
    let attached = setup.recorder.of(inode);
    for (child, merged) in children {
        end(child);
        assert!(Command::new("umount").arg(merged).status().unwrap().success());
    }
    assert_eq!(attached.iter().filter(|a| a.program == "openssl_write").count(), 1, "{attached:?}");
}

fn sleeper_until(setup: &Setup, library: &Path, inode: u64) -> Child {
    let child = sleeper_with(library);
    eventually("attached", || !setup.recorder.of(inode).is_empty());
    child
}

#[test]
fn files_that_vanish_or_are_rubbish_harm_nobody() {
    let setup = setup();
    let bytes = std::fs::read(LIBSSL).unwrap();
    for (n, len) in [0, 10, 64, 200, 5000, bytes.len() / 2, bytes.len() - 100].into_iter().enumerate() {
        let path = setup.dir.path().join(format!("truncated-{n}"));
        std::fs::write(&path, &bytes[..len]).unwrap();
        // Mapped as code whatever it is, and gone at once.
        let script = "import mmap,sys,os\nf=open(sys.argv[1],'rb')\n\
                      m=mmap.mmap(f.fileno(),4096,prot=mmap.PROT_READ|mmap.PROT_EXEC,flags=mmap.MAP_PRIVATE) \
                      if os.path.getsize(sys.argv[1])>=4096 else None\nos.unlink(sys.argv[1])";
        assert!(Command::new("python3").args(["-c", script]).arg(&path).status().unwrap().success());
    }
    let (copy, inode) = setup.libssl("libssl.so.3");
    end(sleeper_until(&setup, &copy, inode));
}

#[test]
fn what_this_machine_would_get() {
    let reports = survey(Counters::default()).unwrap();
    let libssl = reports.iter().find(|r| r.path == LIBSSL).unwrap();
    let write = libssl.functions.iter().find(|f| f.symbol == "SSL_write").unwrap();
    assert!(matches!(write.placement.kind, Kind::Emulated(_)), "{write:?}");
    assert!(reports.iter().flat_map(|r| &r.functions).all(|f| f.error.is_none()));
}
