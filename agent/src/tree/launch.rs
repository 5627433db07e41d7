//! The command of a tree: started and stopped at once, so that it is in the tree, and watched, before it does anything.
//!
//! `keymoat` starts itself as a launcher, which becomes the command (exec): it has all rights still when the agent has given up
//! most of its own.

use super::keeper::Keeper;
use super::{Tree, TreeError};
use nix::unistd::{Uid, User, getgrouplist, setgid, setgroups, setuid};
use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process, set_parent_process_death_signal, waitpid,
};
use std::ffi::{CString, OsString};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus};

/// The hidden verb that it starts itself with.
pub const VERB: &str = "launch";

/// As shells have it: the command was not found, or could not be started.
const NOT_FOUND: i32 = 127;
const NOT_STARTED: i32 = 126;

/// A command on its way. Killed when this is dropped before it began.
#[derive(Debug)]
pub struct Launched {
    launcher: Launcher,
    // Dropped last: it removes the cgroup, which has to be empty.
    keeper: Keeper,
}

#[derive(Debug)]
struct Launcher {
    child: Child,
    began: bool,
}

impl Launched {
    /// A process in `tree` that will become `command` once it is told to [`Self::go_on`], with the rights of `user`.
    ///
    /// # Errors
    /// When there is none to be had.
    pub fn stopped(tree: &Tree, command: &[OsString], user: Option<&str>) -> Result<Self, TreeError> {
        let program = command.first().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let failed = |source| TreeError::Launch { program: program.clone(), source };
        let mut launcher = Command::new("/proc/self/exe");
        launcher.arg0("keymoat").arg(VERB);
        launcher.args(user.into_iter().flat_map(|name| ["--user", name])).arg("--").args(command);
        let launcher = Launcher { child: launcher.spawn().map_err(failed)?, began: false };
        match waitpid(Some(Pid::from_child(&launcher.child)), WaitOptions::UNTRACED) {
            Ok(Some((_, status))) if status.stopped() => {}
            Ok(_) => return Err(failed(io::Error::other("its launcher ended"))),
            Err(error) => return Err(failed(error.into())),
        }
        tree.take_in(launcher.child.id())?;
        let keeper = Keeper::start(tree, launcher.child.id())?;
        Ok(Self { launcher, keeper })
    }

    /// Lets the command begin.
    ///
    /// # Errors
    /// When nobody can tell it.
    pub fn go_on(&mut self) -> io::Result<()> {
        self.launcher.began = true;
        self.keeper.send(Signal::CONT)
    }

    /// Has the command sent a signal: TERM or HUP.
    ///
    /// # Errors
    /// When nobody can.
    pub fn send(&mut self, signal: Signal) -> io::Result<()> {
        self.keeper.send(signal)
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.launcher.child.try_wait()
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        if !self.began {
            // It may be gone.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// What a launcher does: waits until it may go on, and becomes the command. Returns the exit code if it cannot, and why.
pub fn become_command(command: &[OsString], user: Option<&str>) -> (i32, String) {
    let Some((program, arguments)) = command.split_first() else {
        return (NOT_STARTED, "no command".to_owned());
    };
    let mut command = Command::new(program);
    command.args(arguments);
    match wait_for_leave().and_then(|()| user.map_or(Ok(()), |name| take_rights(name, &mut command))) {
        Ok(()) => {
            let error = command.exec();
            let code = if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_STARTED };
            (code, format!("{}: {error}", program.display()))
        }
        Err(error) => (NOT_STARTED, error.to_string()),
    }
}

/// Until the agent watches. If that ends before, so does this.
fn wait_for_leave() -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    kill_process(getpid(), Signal::STOP)?;
    Ok(set_parent_process_death_signal(None)?)
}

/// The rights and the home of a user.
fn take_rights(name: &str, command: &mut Command) -> io::Result<()> {
    let user = User::from_name(name)?.ok_or_else(|| io::Error::other(format!("there is no user {name}")))?;
    let name = CString::new(user.name.clone())?;
    setgroups(&getgrouplist(&name, user.gid)?)?;
    setgid(user.gid)?;
    setuid(user.uid)?;
    command.env("HOME", &user.dir).env("USER", &user.name).env("LOGNAME", &user.name);
    Ok(())
}

/// Who called `sudo`, if this is run by it.
pub fn caller() -> Option<String> {
    let uid: u32 = std::env::var("SUDO_UID").ok()?.parse().ok()?;
    let caller = Uid::from_raw(uid);
    if !Uid::effective().is_root() || caller.is_root() {
        return None;
    }
    Some(User::from_uid(caller).ok()??.name)
}
