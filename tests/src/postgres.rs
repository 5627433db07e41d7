//! PostgreSQL over TLS in the other network. Its connections begin in the clear and become TLS when both ends want it (PostgreSQL
//! documentation, "Frontend/Backend Protocol", SSL Session Encryption).

use crate::net::Net;
use crate::{child, env, pki};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// It does not run as root: `nobody`.
const USER: u32 = 65_534;
const PORT: u16 = 18_432;

/// A running server; it ends with this.
#[derive(Debug)]
pub struct Postgres {
    child: Child,
    /// There is one port for it.
    _alone: MutexGuard<'static, ()>,
}

impl Postgres {
    pub fn start() -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = env::fresh_dir("postgres");
        let data = folder.join("data");
        chown(&folder, Some(USER), Some(USER)).expect("chown");
        let mut make = unprivileged(Command::new(env::tool("setpriv")), "initdb");
        make.args(["--no-sync", "-A", "trust", "-U", "keymoat", "-D"]).arg(&data);
        child::Client::run_within(make, 60.0);
        fs::write(data.join("pg_hba.conf"), "hostssl all all all trust\n").expect("write pg_hba.conf");
        let (certificate, key) = pki::server_files();
        for (name, file) in [("server.crt", certificate), ("server.key", key)] {
            own_copy(file, &data.join(name));
        }
        let mut command = unprivileged(Net::shared().command(&env::tool("setpriv")), "postgres");
        command.arg("-D").arg(&data).arg("-k").arg(&folder).arg("-h").arg(Net::shared().v4.to_string());
        command.args(["-p", &PORT.to_string(), "-c", "ssl=on", "-c", "fsync=off"]);
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("start postgres");
        let mut this = Self { child, _alone: alone };
        child::wait_until_it_listens(&mut this.child, (Net::shared().v4, PORT).into(), env::seconds(30.0));
        wait_until_it_is_ready(&data);
        this
    }

    pub fn port(&self) -> u16 {
        PORT
    }

    /// psql to it, over TLS.
    pub fn psql(&self) -> Command {
        let mut command = Command::new(env::tool("psql"));
        command.args(["-X", "-At", "-v", "ON_ERROR_STOP=1"]).arg(format!(
            "host={} port={PORT} user=keymoat dbname=postgres sslmode=verify-ca sslrootcert={}",
            Net::shared().v4,
            pki::authority().display()
        ));
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            // Without waiting for sessions.
            let _gone = kill_process(pid, Signal::INT);
        }
        let _status = child::wait(&mut self.child, env::seconds(20.0));
    }
}

/// It listens before it serves ("the database system is starting up"). The last line of its file says which (src/include/utils/pidfile.h).
fn wait_until_it_is_ready(data: &Path) {
    let deadline = Instant::now() + env::seconds(30.0);
    let is_ready = || {
        let status = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
        status.lines().last().is_some_and(|line| line.trim() == "ready")
    };
    while !is_ready() {
        assert!(Instant::now() < deadline, "PostgreSQL does not become ready");
        thread::sleep(Duration::from_millis(10));
    }
}

/// `setpriv`, with one of PostgreSQL's programs.
fn unprivileged(mut setpriv: Command, program: &str) -> Command {
    let user = USER.to_string();
    setpriv.args(["--reuid", &user, "--regid", &user, "--clear-groups"]).arg(programs().join(program));
    setpriv
}

/// Debian keeps the programs of each version in a folder of their own.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest =
        versions.map(|version| version.path().join("bin")).filter(|bin| bin.join("initdb").exists()).max();
    newest.unwrap_or_else(|| env::missing("PostgreSQL"))
}

fn own_copy(from: &Path, to: &Path) {
    fs::copy(from, to).expect("copy a file");
    fs::set_permissions(to, fs::Permissions::from_mode(0o600)).expect("chmod");
    chown(to, Some(USER), Some(USER)).expect("chown");
}
