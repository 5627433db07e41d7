//! Virtual machines of one kernel that share a suite: each boots, runs its script, shows what it prints, and ends, by
//! itself or not.

use super::{
    kernel::Installed,
    suite::{RUNNING, Suite},
};
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

pub struct Machines<'a> {
    pub vng: &'a Path,
    pub kernel: &'a Installed,
    /// Both sides write here: the scripts' output and status from inside, the consoles from outside.
    pub folder: PathBuf,
    pub count: usize,
}

/// One of them, under way.
struct Machine<'a> {
    folder: &'a Path,
    number: usize,
    /// How often it was started.
    boots: usize,
    running: Running,
    output: Output,
    ended: bool,
}

/// The emulator brings a kernel down now and then while that patches itself at its start.
const MOST_BOOTS: usize = 3;
const LOOK: Duration = Duration::from_millis(100);

impl Machines<'_> {
    /// The exit code of the scripts: of one that failed, if any did. Their output goes to this terminal.
    pub fn run(&self, suite: &Suite, deadline: Duration) -> Result<i32> {
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)?;
        }
        fs::create_dir_all(&self.folder)?;
        suite.prepare(&self.folder)?;
        let count = self.count.clamp(1, suite.most_machines().max(1));
        let mut machines =
            (1..=count).map(|number| self.boot(suite, number, 1)).collect::<Result<Vec<_>>>()?;

        let started = Instant::now();
        loop {
            for machine in machines.iter_mut().filter(|machine| !machine.ended) {
                machine.look()?;
                if machine.never_came_up() && machine.boots < MOST_BOOTS {
                    say(format!("machine {} ended before its script began; once more", machine.number));
                    *machine = self.boot(suite, machine.number, machine.boots + 1)?;
                }
            }
            let all_ended = machines.iter().all(|machine| machine.ended);
            if all_ended || shell::interrupted() || started.elapsed() > deadline {
                break;
            }
            sleep(LOOK);
        }
        if shell::interrupted() {
            bail!("interrupted");
        }
        let codes = machines
            .into_iter()
            .map(|machine| machine.status(started.elapsed()))
            .collect::<Result<Vec<_>>>()?;
        Ok(codes.into_iter().find(|&code| code != 0).unwrap_or_default())
    }

    /// A process group of its own, so that nothing of it stays behind.
    fn boot(&self, suite: &Suite, number: usize, boots: usize) -> Result<Machine<'_>> {
        let folder = &self.folder;
        let script = folder.join(format!("script.{number}.sh"));
        fs::write(&script, suite.script(folder, number))?;
        let output = Output::new(&folder.join(format!("output.{number}")))?;
        let console = File::create(console(folder, number))?;
        // vng starts its own helpers by name.
        let helpers = self.vng.parent().context("vng is in a folder")?.to_path_buf();
        let path = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths(std::iter::once(helpers).chain(env::split_paths(&path)))?;
        let mut vng = Command::new(self.vng);
        vng.env("PATH", path)
            .args(["--verbose", "--disable-kvm", "--user", "root", "--cpus", "2", "--memory", "3G"])
            .args(["--append", "lsm=landlock,lockdown,yama,bpf"])
            .arg(format!("--rwdir={}", folder.display()))
            .arg("--run")
            .arg(&self.kernel.image)
            .arg("--exec")
            .arg(format!("sh {}", script.display()))
            .current_dir(shell::root())
            .stdin(Stdio::null())
            .stdout(console.try_clone()?)
            .stderr(console)
            .process_group(0);
        let child = vng.spawn().with_context(|| format!("cannot run {}", shell::line(&vng)))?;
        Ok(Machine { folder, number, boots, running: Running(child), output, ended: false })
    }
}

impl Machine<'_> {
    /// Shows what is new.
    fn look(&mut self) -> Result<()> {
        self.ended = self.running.0.try_wait()?.is_some();
        self.output.show(self.ended)
    }

    fn never_came_up(&self) -> bool {
        self.ended && !self.folder.join(format!("began.{}", self.number)).exists()
    }

    /// Its script's exit code. A machine that still runs is killed.
    fn status(mut self, elapsed: Duration) -> Result<i32> {
        drop(self.running);
        self.output.show(true)?;
        let status = fs::read_to_string(self.folder.join(format!("status.{}", self.number)));
        let code = status.context("the script did not end").and_then(|status| Ok(status.trim().parse()?));
        code.with_context(|| {
            let why = if self.ended { "ended early" } else { "was killed at its deadline" };
            let tail = tail(&console(self.folder, self.number));
            format!("machine {} {why} after {} s; its console:\n{tail}", self.number, elapsed.as_secs())
        })
    }
}

fn console(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("console.{number}"))
}

fn tail(file: &Path) -> String {
    let bytes = fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().collect();
    lines.get(lines.len().saturating_sub(40)..).unwrap_or_default().join("\n")
}

/// What a script prints. Each program's part of it is shown when it is whole: two machines at once would mix theirs.
struct Output {
    file: File,
    held: Vec<u8>,
}

impl Output {
    fn new(path: &Path) -> Result<Self> {
        fs::write(path, "")?;
        Ok(Self { file: File::open(path)?, held: Vec::new() })
    }

    fn show(&mut self, all: bool) -> Result<()> {
        self.file.read_to_end(&mut self.held)?;
        let next = format!("\n{RUNNING}");
        let last = self.held.windows(next.len()).rposition(|window| window == next.as_bytes());
        let end = if all { self.held.len() } else { last.map_or(0, |at| at + 1) };
        let mut terminal = io::stdout().lock();
        terminal.write_all(self.held.get(..end).unwrap_or_default())?;
        self.held.drain(..end);
        Ok(terminal.flush()?)
    }
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
