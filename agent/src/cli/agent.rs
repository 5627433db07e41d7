//! `keymoat agent`: watches this host. Parse, attach, run, drain.

use super::AgentArgs;
use super::running::{Known, Running, Scope, Setup, export_config, give_up_privileges};
use crate::config::{Config, FleetKey, LogLevel, Mode};
use crate::enforce::lone::Lone;
use crate::export::{self, Human, human};
use crate::loader::pins::{self, Pins};
use crate::privileges;
use crate::terminal::wants_color;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Runs until SIGINT or SIGTERM.
///
/// # Errors
/// When something needed cannot be had; each error says what to do.
pub fn run(args: &AgentArgs) -> anyhow::Result<ExitCode> {
    if args.detach {
        return detach();
    }
    let config = args.config()?;
    start_log(config.log);
    let known = Known::read(&config)?;
    let fleet_key = FleetKey::load(config.fleet_key_file.as_deref())?;
    if let Some(warning) = fleet_key.origin.warning() {
        tracing::warn!("{warning}");
    }
    // Before anything is said to be ready: whoever hears it may stop the agent at once.
    let runtime = runtime()?;
    let mut signals = runtime.block_on(async { Signals::install() })?;
    let human =
        Human { color: wants_color(&std::io::stdout()), render: human::render, to: export::Stream::Output };
    let ways_out = export::prepare(export_config(&config, human))?;
    let pins = pins(&config)?;
    let _alone = (config.mode == Mode::Block).then(Lone::take).transpose()?;
    let plan = privileges::plan()?;
    give_up_privileges(&plan)?;
    if config.enforcement.is_some() && config.mode != Mode::Block {
        tracing::warn!("`enforcement` has no effect without `--mode block`");
    }
    let setup = Setup { scope: Scope::Host(pins), ways_out, known, fleet_key };
    let mut running = Running::start(&config, &plan, setup)?;
    runtime.block_on(async {
        while let Wish::Reload = running.attend(signals.next()).await {
            running.reload(args.config());
        }
    });
    running.stop();
    Ok(ExitCode::SUCCESS)
}

/// What will outlive this agent, if that is wished for. Before privileges are given up: it may take a mount.
fn pins(config: &Config) -> anyhow::Result<Option<Pins>> {
    if config.strict && config.mode != Mode::Block {
        anyhow::bail!("`strict` goes with `--mode block`: set both, or neither");
    }
    if !config.strict && pins::in_force() {
        anyhow::bail!(
            "what an agent in `strict` mode attached is in force: start with `--mode block --strict` to go on with it, or end it \
             with `keymoat agent --detach`"
        );
    }
    Ok(config.strict.then(Pins::open).transpose()?)
}

fn detach() -> anyhow::Result<ExitCode> {
    let was_there = pins::detach()?;
    println!("{}", if was_there { "detached: nothing is refused any more" } else { "nothing was attached" });
    Ok(ExitCode::SUCCESS)
}

/// What ends the agent in order, or has it read its rules again.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

enum Wish {
    End,
    Reload,
}

impl Signals {
    fn install() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.interrupt.recv() => Wish::End,
            _ = self.terminate.recv() => Wish::End,
            _ = self.hangup.recv() => Wish::Reload,
        }
    }
}

/// For what waits and is woken; no threads of its own.
pub(super) fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

pub(super) fn start_log(level: LogLevel) {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::from(level))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}
