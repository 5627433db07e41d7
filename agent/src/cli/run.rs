//! `keymoat run`: one command and whatever it starts are watched, and nothing else.

use super::agent::{runtime, start_log};
use super::complain;
use super::running::{Known, Running, Scope, Setup, export_config, give_up_privileges};
use crate::config::{Config, ConfigError, FleetKey, JsonlOutput, LogLevel, Mode};
use crate::enforce::lone::Lone;
use crate::export::{self, Human, human};
use crate::loader::pins;
use crate::privileges;
use crate::terminal::wants_color;
use crate::tree::Tree;
use crate::tree::keeper;
use crate::tree::launch::{self, Launched};
use anyhow::Context as _;
use clap::Args;
use rustix::process::Signal as Sent;
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus};
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// As shells have it: ended by signal N.
const BY_SIGNAL: i32 = 128;

#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Configuration file [default: /etc/keymoat/agent.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Report only, or refuse the write that carries a secret
    #[arg(long, value_enum)]
    pub mode: Option<Mode>,
    /// Write findings as JSON lines to a file, or to standard output with `-`
    #[arg(long, value_name = "FILE|-", allow_hyphen_values = true)]
    pub jsonl: Option<JsonlOutput>,
    /// Count traffic to this very host as leaving
    #[arg(long)]
    pub include_loopback: bool,
    /// Whose rights and home the command has [default: who called sudo, or else who calls]
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// What a launcher is told.
#[derive(Clone, Debug, Args)]
pub struct LaunchArgs {
    #[arg(long)]
    pub user: Option<String>,
    #[arg(last = true, required = true)]
    pub command: Vec<OsString>,
}

/// What a keeper is told.
#[derive(Clone, Debug, Args)]
pub struct KeepArgs {
    pub cgroup: PathBuf,
    pub command: u32,
}

impl RunArgs {
    fn config(&self) -> Result<Config, ConfigError> {
        let mut config = Config::load(self.config.as_deref())?;
        config.mode = self.mode.unwrap_or(config.mode);
        config.jsonl.clone_from(&self.jsonl);
        config.include_loopback |= self.include_loopback;
        // That is for a host.
        config.strict = false;
        Ok(config)
    }
}

/// Runs the command to its end, and ends as it did.
///
/// # Errors
/// When something needed cannot be had; then the command was not run. Each error says what to do.
pub fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let config = args.config()?;
    // What is worth saying of an agent is not of every command.
    start_log(if config.log == LogLevel::Info { LogLevel::Error } else { config.log });
    let known = Known::read(&config)?;
    let fleet_key = FleetKey::load(config.fleet_key_file.as_deref())?;
    if config.mode == Mode::Block {
        if pins::in_force() {
            anyhow::bail!("an agent in `strict` mode refuses for this whole host: run the command as it is");
        }
        Lone::is_free()?;
    }
    let plan = privileges::plan().context("`keymoat run` takes root")?;
    let user = args.user.clone().or_else(launch::caller);
    let tree = Arc::new(Tree::make()?);
    let mut command = Launched::stopped(&tree, &args.command, user.as_deref())?;
    let runtime = runtime()?;
    let mut signals = runtime.block_on(async { Signals::install() })?;
    // Standard output is the command's.
    let human = Human {
        color: wants_color(&std::io::stderr()),
        render: human::render_sightings,
        to: export::Stream::Error,
    };
    let ways_out = export::prepare(export_config(&config, human))?;
    give_up_privileges(&plan)?;
    let setup = Setup { scope: Scope::Tree(Arc::clone(&tree)), ways_out, known, fleet_key };
    let mut running = Running::start(&config, &plan, setup)?;
    command.go_on()?;
    let status = runtime.block_on(until_it_ends(&mut running, &mut command, &mut signals))?;
    running.stop();
    let left = tree.processes().len();
    if left > 0 {
        complain(&format!(
            "{left} processes that the command started go on, and nobody watches them any more"
        ));
    }
    Ok(code(status))
}

/// Becomes the command of a tree. Returns when it cannot.
pub fn launch(args: &LaunchArgs) -> ExitCode {
    let (code, why) = launch::become_command(&args.command, args.user.as_deref());
    complain(&why);
    exit_code(code)
}

/// Keeps the rights that the agent gives up.
pub fn keep(args: &KeepArgs) -> ExitCode {
    keeper::keep(&args.cgroup, args.command);
    ExitCode::SUCCESS
}

async fn until_it_ends(
    running: &mut Running,
    command: &mut Launched,
    signals: &mut Signals,
) -> anyhow::Result<ExitStatus> {
    loop {
        if let Some(status) = command.ended()? {
            return Ok(status);
        }
        let came = running.attend(signals.next()).await;
        if let Came::PassOn(signal) = came
            && let Err(error) = command.send(signal)
        {
            complain(&format!("the command cannot be sent the signal: {error}"));
        }
    }
}

/// What comes from outside while the command runs.
struct Signals {
    child: Signal,
    interrupt: Signal,
    quit: Signal,
    terminate: Signal,
    hangup: Signal,
}

enum Came {
    /// The command may have ended. Or something came that it was told by the terminal as well.
    Nothing,
    PassOn(Sent),
}

impl Signals {
    fn install() -> std::io::Result<Self> {
        Ok(Self {
            child: signal(SignalKind::child())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Came {
        tokio::select! {
            _ = self.child.recv() => Came::Nothing,
            _ = self.interrupt.recv() => Came::Nothing,
            _ = self.quit.recv() => Came::Nothing,
            _ = self.terminate.recv() => Came::PassOn(Sent::TERM),
            _ = self.hangup.recv() => Came::PassOn(Sent::HUP),
        }
    }
}

fn code(status: ExitStatus) -> ExitCode {
    exit_code(status.code().or_else(|| status.signal().map(|signal| BY_SIGNAL + signal)).unwrap_or(1))
}

/// Exit codes have eight bits.
fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(code as u8)
}
