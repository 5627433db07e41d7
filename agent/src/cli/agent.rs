//! `keymoat agent`: watches this host. Parse, attach, run, drain.

mod reload;

use super::AgentArgs;
use crate::config::{Capture, Config, FleetKey, JsonlOutput, Mode, policy, rules};
use crate::discover::{Discovery, Options, Source};
use crate::enforce::enforcer::Enforcer;
use crate::enforce::hang_up;
use crate::enforce::judgement::Judge;
use crate::enforce::{Method, ladder};
use crate::enrich::process::ProcessTable;
use crate::export::{self, ExportConfig, Human, JsonlTarget, Limits, Outbox, Prepared, human};
use crate::health::Counters;
use crate::kernel::rcu::Expedited;
use crate::kernel::{self, TaskOffsets, unread};
use crate::loader::pins::{self, Pins};
use crate::loader::{Judging, Kernel, Settings};
use crate::pipeline::{Blocking, Exchange, Pipeline, PipelineConfig};
use crate::privileges::{self, Plan};
use crate::record::{Health, Ready, Record, UnseenTls};
use crate::ring::{Ring, Sink};
use crate::socket_layer::{self, SocketLayer};
use crate::sockets::Wanted;
use crate::status::{Status, StatusFile, Unseen};
use crate::terminal::wants_color;
use anyhow::Context as _;
use aya_log::EbpfLogger;
use keymoat_abi::decode::Event;
use keymoat_detect::policy::Policy;
use keymoat_detect::{Detector, KernelRules};
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a shutdown may take: a collector that answers gets what is left, one that does not is not waited for.
const DRAIN: Duration = Duration::from_secs(5);
const STATUS_PERIOD: Duration = Duration::from_secs(1);
/// `keymoat allow` takes effect within this.
const EXCEPTIONS_PERIOD: Duration = Duration::from_millis(250);

/// Runs until SIGINT or SIGTERM.
///
/// # Errors
/// When something needed cannot be had; each error says what to do.
pub fn run(args: &AgentArgs) -> anyhow::Result<ExitCode> {
    if args.detach {
        return detach();
    }
    let config = args.config()?;
    start_log(&config);
    let known = Known::read(&config)?;
    let fleet_key = FleetKey::load(config.fleet_key_file.as_deref())?;
    if let Some(warning) = fleet_key.origin.warning() {
        tracing::warn!("{warning}");
    }
    // Before anything is said to be ready: whoever hears it may stop the agent at once.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let signals = runtime.block_on(async { Signals::install() })?;
    let ways_out = export::prepare(export_config(&config))?;
    let pins = pins(&config)?;
    let plan = give_up_privileges()?;
    if config.enforcement.is_some() && config.mode != Mode::Block {
        tracing::warn!("`enforcement` has no effect without `--mode block`");
    }
    let agent = Agent::start(args, &config, &plan, pins, ways_out, known, &fleet_key)?;
    agent.run(&runtime, signals)
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

/// What is looked for, and what it means.
struct Known {
    detector: Arc<Detector>,
    policy: Policy,
}

impl Known {
    /// Reads what the configuration names.
    fn read(config: &Config) -> anyhow::Result<Self> {
        let rules = Arc::new(rules::load(config)?);
        let policy = policy::load(config.policy.as_deref(), &rules)?;
        for (entry, end) in policy.expired(jiff::Timestamp::now()) {
            tracing::warn!(
                "the entry `{entry}` of the policy expired at {end}: remove it, or give it another end"
            );
        }
        for problem in rules.unsupported() {
            tracing::warn!("{problem}");
        }
        Ok(Self { detector: Arc::new(rules::detector(config, rules)?), policy })
    }
}

/// What ends the agent in order, or has it read its rules again.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn install() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

fn start_log(config: &Config) {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::from(config.log))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}

/// Before any other thread exists: capabilities belong to threads.
fn give_up_privileges() -> anyhow::Result<Plan> {
    let plan = privileges::plan()?;
    for lifted in [privileges::lift_memlock_limit(), privileges::lift_descriptor_limit()] {
        if let Err(error) = lifted {
            tracing::debug!("{error}");
        }
    }
    let remaining = privileges::restrict(&plan)?;
    tracing::info!("{remaining}");
    Ok(plan)
}

type Findings = Pipeline<Arc<ProcessTable>, Outbox>;

/// Everything that runs. Stopped in the order data flows: no more probes, the ring read empty, the outbox drained.
struct Agent {
    args: AgentArgs,
    kernel: Kernel,
    enforcer: Option<Enforcer>,
    judge: Judge,
    /// All plaintext is captured.
    everything: bool,
    processes: Arc<ProcessTable>,
    exchanges: Sender<Exchange>,
    discovery: Discovery,
    ring: std::thread::JoinHandle<()>,
    stop_ring: Arc<AtomicBool>,
    outbox: Outbox,
    export: export::Handle,
    status: StatusFile,
    unseen: Unseen,
    hooks: Vec<String>,
    started: jiff::Timestamp,
    counters: Counters,
}

impl Agent {
    fn start(
        args: &AgentArgs,
        config: &Config,
        plan: &Plan,
        pins: Option<Pins>,
        ways_out: Prepared,
        known: Known,
        fleet_key: &FleetKey,
    ) -> anyhow::Result<Self> {
        let Known { detector, policy } = known;
        let counters = Counters::default();
        let status = StatusFile::create(&config.status_file)
            .with_context(|| format!("cannot make the directory of {}", config.status_file.display()))?;
        let (outbox, export) =
            privileges::without_attaching(plan, || export::start(ways_out, counters.clone()))??;

        let blocking = config.mode == Mode::Block;
        let compiled = blocking.then(|| KernelRules::compile(detector.rules()));
        let everything = compiled.as_ref().is_some_and(|rules| captures_everything(config.capture, rules));
        if everything && config.capture == Capture::Needed {
            tracing::info!(
                "all plaintext is captured: there are rules (gitleaks', registered values) of which the kernel cannot tell where \
                 they may apply"
            );
        }
        let judging = compiled.as_ref().map(|rules| Judging {
            tables: rules.tables(),
            ids: detector.rules().rules().iter().map(|rule| rule.id.as_str()).collect(),
            everything,
            strict: pins,
        });
        let unread_hidden = blocking && unread::is_hidden();
        if unread_hidden {
            tracing::warn!("{}", unread::HIDDEN);
            outbox.send(Record::Health(degraded("unread", unread::HIDDEN)));
        }
        let mut kernel = Kernel::load(settings(config, unread_hidden), judging)?;
        let method = blocking.then(|| ladder::choose(&mut kernel, config.enforcement)).transpose()?;
        let enforcer = match compiled {
            Some(rules) => Some(Enforcer::start(
                kernel.verdicts()?,
                policy.clone(),
                Arc::clone(&detector),
                &rules,
                config.exceptions_file.clone(),
            )?),
            None => None,
        };
        let judge = enforcer.as_ref().map_or_else(|| Judge::detecting(policy), Enforcer::judge);
        let (ring, mut sockets) = kernel.take_maps()?.into_ring(counters.clone());
        kernel.load_tls()?;
        let wanted = Wanted { loopback: config.include_loopback, accepted: config.accepted_connections };
        let (layer, adopted) = socket_layer::attach(&kernel, &mut sockets, config.socket_layer, wanted)?;
        tracing::info!("{} connections older than the agent", adopted.connections);

        let processes = Arc::new(ProcessTable::new(Arc::clone(&detector), counters.clone()));
        let (hellos, hello_queue) = std::sync::mpsc::channel();
        let unseen = Unseen::default();
        let report = {
            let (outbox, unseen, processes) = (outbox.clone(), unseen.clone(), processes.clone());
            Box::new(move |mut found: UnseenTls| {
                found.process = processes.facts(found.process.pid, &found.process.comm);
                unseen.add(found.clone());
                outbox.send(Record::UnseenTls(found));
            })
        };
        let discovery = Discovery::start(
            Box::new(kernel.attacher()),
            processes.clone(),
            hello_queue,
            report,
            counters.clone(),
            Options { detours: method == Some(Method::ReturnOverride), ..Options::default() },
        )?;
        processes.seed();
        if let Source::PeriodicScan { because, .. } = discovery.source() {
            outbox.send(Record::Health(degraded("process-notifications", because)));
        }

        if config.strict {
            if let Err(error) = kernel.attach_lsm() {
                tracing::warn!("sockets for raw packets (AF_PACKET, AF_XDP) are not refused: {error}");
            }
            kernel.take_over()?;
        }

        privileges::stop_attaching(plan)?;

        let rules = detector.rules().rules().len();
        let pipeline = Pipeline::new(
            PipelineConfig {
                include_loopback: config.include_loopback,
                max_flows: config.max_flows.get(),
                fleet_key: fleet_key.bytes().to_vec(),
                judge: judge.clone(),
                blocking: match blocking {
                    true => Some(Blocking { hang_up: hang_up::start()?, numbers: kernel.numbers() }),
                    false => None,
                },
            },
            detector,
            Arc::clone(&processes),
            counters.clone(),
            outbox.clone(),
            hellos,
        );
        let (exchanges, received) = std::sync::mpsc::channel();
        let (ring, stop_ring) = spawn_ring(ring, Feed { pipeline, exchanges: received })?;
        let hooks = hooks(layer, &discovery);
        outbox.send(Record::Ready(Ready {
            version: env!("CARGO_PKG_VERSION"),
            mode: config.mode.to_string(),
            hooks: hooks.clone(),
            enforcement: method.map(|method| method.name().to_owned()),
            rules,
            kernel: kernel::release(),
        }));
        let started = jiff::Timestamp::now();
        Ok(Self {
            args: args.clone(),
            kernel,
            enforcer,
            judge,
            everything,
            processes,
            exchanges,
            discovery,
            ring,
            stop_ring,
            outbox,
            export,
            status,
            unseen,
            hooks,
            started,
            counters,
        })
    }

    fn run(mut self, runtime: &Runtime, signals: Signals) -> anyhow::Result<ExitCode> {
        runtime.block_on(self.serve(signals))?;
        self.stop();
        Ok(ExitCode::SUCCESS)
    }

    async fn serve(&mut self, mut signals: Signals) -> anyhow::Result<()> {
        let mut status = tokio::time::interval(STATUS_PERIOD);
        let mut exceptions = tokio::time::interval(EXCEPTIONS_PERIOD);
        let mut kernel_log = self.kernel.with(EbpfLogger::init).context("log of the kernel programs")?;
        loop {
            tokio::select! {
                _ = signals.interrupt.recv() => return Ok(()),
                _ = signals.terminate.recv() => return Ok(()),
                _ = signals.hangup.recv() => self.reload(),
                _ = exceptions.tick(), if self.enforcer.is_some() => {
                    if let Some(enforcer) = &mut self.enforcer {
                        enforcer.follow(jiff::Timestamp::now());
                    }
                }
                _ = status.tick() => {
                    kernel_log.flush();
                    self.write_status();
                }
            }
        }
    }

    fn write_status(&mut self) {
        let status = Status {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION"),
            started: self.started,
            hooks: self.hooks.clone(),
            records: self.counters.records(),
            counters: self.counters.snapshot(),
            libraries: self.discovery.inventory(),
            unseen_tls: self.unseen.list(),
        };
        if let Err(error) = self.status.write(&status) {
            tracing::debug!("status file: {error}");
        }
    }

    fn stop(self) {
        // Every probe taken out waits for a grace period of its own.
        let _quickly = Expedited::begin();
        self.kernel.leave();
        self.discovery.stop();
        self.stop_ring.store(true, Ordering::Relaxed);
        if self.ring.join().is_err() {
            tracing::error!("the thread that reads the ring panicked; what it held is lost");
        }
        drop(self.kernel);
        drop(self.enforcer);
        drop(self.outbox);
        let drained = self.export.drain(DRAIN);
        tracing::info!(
            "stopped; {} findings not delivered, {} lines not written",
            drained.undelivered,
            drained.unwritten
        );
    }
}

fn captures_everything(capture: Capture, rules: &KernelRules) -> bool {
    capture == Capture::Everything || !rules.is_cued()
}

fn settings(config: &Config, unread_hidden: bool) -> Settings {
    let task = TaskOffsets::read().unwrap_or_else(|| {
        tracing::warn!("this kernel has no BTF: UDP packets will have no process");
        TaskOffsets::default()
    });
    Settings {
        include_loopback: config.include_loopback,
        accepted_connections: config.accepted_connections,
        response_budget: config.response_budget.per_period(),
        ring_bytes: config.ring_bytes.get(),
        task,
        unread_hidden,
    }
}

fn export_config(config: &Config) -> ExportConfig {
    let to_stdout = matches!(config.jsonl, Some(JsonlOutput::Stdout));
    ExportConfig {
        jsonl: config.jsonl.as_ref().map(|output| match output {
            JsonlOutput::Stdout => JsonlTarget::Stdout,
            JsonlOutput::File(path) => JsonlTarget::File(path.clone()),
        }),
        human: (!to_stdout).then(|| Human { color: wants_color(&std::io::stdout()), render: human::render }),
        collector: config.collector.as_ref().map(ToString::to_string),
        limits: Limits { records: config.buffer.records.get(), bytes: config.buffer.bytes.get() },
    }
}

fn spawn_ring(
    mut ring: Ring,
    mut feed: Feed,
) -> anyhow::Result<(std::thread::JoinHandle<()>, Arc<AtomicBool>)> {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let thread = std::thread::Builder::new().name("ring".to_owned()).spawn(move || {
        ring.run(&mut feed, &stopped);
        feed.pipeline.finish();
    })?;
    Ok((thread, stop))
}

struct Feed {
    pipeline: Findings,
    exchanges: Receiver<Exchange>,
}

impl Sink for Feed {
    fn event(&mut self, event: &Event<'_>, now: Instant) {
        self.pipeline.event(event, now);
    }

    fn tick(&mut self, now: Instant) {
        for exchange in self.exchanges.try_iter() {
            self.pipeline.exchange(exchange, now);
        }
        self.pipeline.tick(now);
    }
}

fn hooks(layer: SocketLayer, discovery: &Discovery) -> Vec<String> {
    let mut libraries: Vec<String> = discovery
        .inventory()
        .iter()
        .filter(|file| file.functions.iter().any(|function| function.error.is_none()))
        .flat_map(|file| file.libraries.clone())
        .map(|library| format!("uprobe:{library}"))
        .collect();
    libraries.sort();
    libraries.dedup();
    layer.hooks().iter().map(ToString::to_string).chain(libraries).collect()
}

fn degraded(component: &str, message: &str) -> Health {
    Health { component: component.to_owned(), status: "degraded".to_owned(), message: message.to_owned() }
}
