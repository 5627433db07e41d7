//! One virtual machine: boots, runs a script, shows what it prints, and ends, by itself or not.

use super::{kernel::Installed, suite::Suite};
use crate::shell::{self, say};
use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    env,
    fs::{self, File},
    io::{self, Read, Write as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

pub struct Machine<'a> {
    pub vng: &'a Path,
    pub kernel: &'a Installed,
    /// Both sides write here: the script's output and status from inside, the console from outside.
    pub folder: PathBuf,
}

const LOOK: Duration = Duration::from_millis(100);

impl Machine<'_> {
    /// The script's exit code. Its output goes to this terminal while it runs.
    pub fn run(&self, suite: &Suite, deadline: Duration) -> Result<i32> {
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)?;
        }
        fs::create_dir_all(&self.folder)?;
        fs::write(self.folder.join("output"), "")?;
        suite.copy_programs(&self.folder)?;
        let script = self.folder.join("script.sh");
        fs::write(&script, suite.script(&self.folder))?;

        let started = Instant::now();
        let mut running = Running(self.boot(&script)?);
        let mut shown = File::open(self.folder.join("output"))?;
        let ended = loop {
            let ended = running.0.try_wait()?;
            show(&mut shown)?;
            if ended.is_some() || shell::interrupted() || started.elapsed() > deadline {
                break ended;
            }
            sleep(LOOK);
        };
        drop(running);
        if shell::interrupted() {
            bail!("interrupted");
        }
        self.status().with_context(|| {
            let why = if ended.is_some() { "ended early" } else { "was killed at its deadline" };
            format!(
                "the machine {why} after {} s; its console:\n{}",
                started.elapsed().as_secs(),
                self.tail()
            )
        })
    }

    /// A process group of its own, so that nothing of it stays behind.
    fn boot(&self, script: &Path) -> Result<Child> {
        let console = File::create(self.folder.join("console"))?;
        // vng starts its own helpers by name.
        let helpers = self.vng.parent().context("vng is in a folder")?.to_path_buf();
        let path = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths(std::iter::once(helpers).chain(env::split_paths(&path)))?;
        let mut vng = Command::new(self.vng);
        vng.env("PATH", path)
            .args(["--verbose", "--disable-kvm", "--user", "root", "--cpus", "2", "--memory", "3G"])
            .args(["--append", "lsm=landlock,lockdown,yama,bpf"])
            .arg(format!("--rwdir={}", self.folder.display()))
            .arg("--run")
            .arg(&self.kernel.image)
            .arg("--exec")
            .arg(format!("sh {}", script.display()))
            .current_dir(shell::root())
            .stdin(Stdio::null())
            .stdout(console.try_clone()?)
            .stderr(console)
            .process_group(0);
        vng.spawn().with_context(|| format!("cannot run {}", shell::line(&vng)))
    }

    fn status(&self) -> Result<i32> {
        let status = fs::read_to_string(self.folder.join("status")).context("the script did not end")?;
        status.trim().parse().context("the script's status")
    }

    fn tail(&self) -> String {
        let bytes = fs::read(self.folder.join("console")).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<_> = text.lines().collect();
        lines.get(lines.len().saturating_sub(40)..).unwrap_or_default().join("\n")
    }
}

/// Passes on what was written since the last time.
fn show(output: &mut File) -> Result<()> {
    let mut bytes = Vec::new();
    output.read_to_end(&mut bytes)?;
    let mut terminal = io::stdout().lock();
    terminal.write_all(&bytes)?;
    Ok(terminal.flush()?)
}

/// The machine dies with this, whatever happens.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(Some(_))) {
            return;
        }
        let group = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        let killed = group.map(|group| kill_process_group(group, Signal::KILL));
        if let Some(Err(error)) = killed {
            say(format!("cannot kill the machine (process group {}): {error}", self.0.id()));
        }
        // It was just killed: this only collects it.
        let _ = self.0.wait();
    }
}
