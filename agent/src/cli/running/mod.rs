//! What `keymoat agent` and `keymoat run` run: the kernel programs, what looks for libraries to probe, what makes findings of what comes
//! up, and the ways out.

mod known;
mod reload;

pub use known::Known;

use crate::config::{Capture, Config, FleetKey, JsonlOutput, Mode};
use crate::discover::{Discovery, Options, Source};
use crate::enforce::enforcer::Enforcer;
use crate::enforce::hang_up;
use crate::enforce::judgement::Judge;
use crate::enforce::{Method, ladder};
use crate::enrich::process::ProcessTable;
use crate::export::{self, ExportConfig, Human, JsonlTarget, Limits, Outbox, Prepared};
use crate::health::Counters;
use crate::kernel::rcu::Expedited;
use crate::kernel::{self, Offsets, unread};
use crate::loader::pins::Pins;
use crate::loader::{Judging, Kernel, Settings};
use crate::pipeline::{Blocking, Exchange, Pipeline, PipelineConfig};
use crate::privileges::{self, Plan};
use crate::record::{Health, Ready, Record, UnseenTls};
use crate::ring::{Ring, Sink};
use crate::socket_layer::{self, SocketLayer};
use crate::sockets::Wanted;
use crate::status::{Status, StatusFile, Unseen};
use crate::tree::Tree;
use anyhow::Context as _;
use aya_log::EbpfLogger;
use keymoat_abi::decode::Event;
use keymoat_detect::KernelRules;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

/// What a shutdown may take: a collector that answers gets what is left, one that does not is not waited for.
const DRAIN: Duration = Duration::from_secs(5);
const STATUS_PERIOD: Duration = Duration::from_secs(1);
/// `keymoat allow` takes effect within this.
const EXCEPTIONS_PERIOD: Duration = Duration::from_millis(250);

/// Who is watched.
pub enum Scope {
    /// Everybody; in `strict` mode, beyond the life of the agent.
    Host(Option<Pins>),
    Tree(Arc<Tree>),
}

/// What is ready before privileges are given up.
pub struct Setup {
    pub scope: Scope,
    pub ways_out: Prepared,
    pub known: Known,
    pub fleet_key: FleetKey,
}

/// Before any other thread exists: capabilities belong to threads.
///
/// # Errors
/// When something that is needed is missing.
pub fn give_up_privileges(plan: &Plan) -> anyhow::Result<()> {
    for lifted in [privileges::lift_memlock_limit(), privileges::lift_descriptor_limit()] {
        if let Err(error) = lifted {
            tracing::debug!("{error}");
        }
    }
    let remaining = privileges::restrict(plan)?;
    tracing::info!("{remaining}");
    Ok(())
}

/// Where findings go.
pub fn export_config(config: &Config, human: Human) -> ExportConfig {
    ExportConfig {
        jsonl: config.jsonl.as_ref().map(|output| match output {
            JsonlOutput::Stdout => JsonlTarget::Stdout,
            JsonlOutput::File(path) => JsonlTarget::File(path.clone()),
        }),
        human: Some(human),
        collector: config.collector.as_ref().map(ToString::to_string),
        limits: Limits { records: config.buffer.records.get(), bytes: config.buffer.bytes.get() },
    }
}

type Findings = Pipeline<Arc<ProcessTable>, Outbox>;

/// Everything that runs. Stopped in the order data flows: no more probes, the ring read empty, the outbox drained.
pub struct Running {
    kernel_log: EbpfLogger<&'static dyn log::Log>,
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
    status: Option<StatusFile>,
    unseen: Unseen,
    hooks: Vec<String>,
    started: jiff::Timestamp,
    counters: Counters,
}

impl Running {
    /// Attaches everything. When this returns, whatever is sent is seen.
    ///
    /// # Errors
    /// When something needed cannot be had; each error says what to do.
    pub fn start(config: &Config, plan: &Plan, setup: Setup) -> anyhow::Result<Self> {
        let Setup { scope, ways_out, known, fleet_key } = setup;
        let Known { detector, policy } = known;
        let (pins, tree) = match scope {
            Scope::Host(pins) => (pins, None),
            Scope::Tree(tree) => (None, Some(tree)),
        };
        let counters = Counters::default();
        // The file is about the agent of this host.
        let status = tree.is_none().then(|| StatusFile::create(&config.status_file)).transpose();
        let status = status
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
        let mut kernel = Kernel::load(settings(config, unread_hidden, tree.as_deref()), judging)?;
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
        let layer = match &tree {
            Some(tree) => socket_layer::attach_below(&kernel, &mut sockets, tree.path())?,
            None => {
                let (layer, adopted) =
                    socket_layer::attach(&kernel, &mut sockets, config.socket_layer, wanted)?;
                tracing::info!("{} connections older than the agent", adopted.connections);
                layer
            }
        };

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
            Options { detours: method == Some(Method::ReturnOverride), tree, ..Options::default() },
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
                    true => {
                        let unsent = kernel.unsent()?;
                        let waits = Arc::new(move |tgid, context| unsent.waits(tgid, context));
                        Some(Blocking {
                            hang_up: hang_up::start()?,
                            numbers: kernel.numbers(),
                            unsent: waits,
                        })
                    }
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
        let kernel_log = kernel.with(EbpfLogger::init).context("log of the kernel programs")?;
        Ok(Self {
            kernel_log,
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

    /// Keeps what runs up to date until something happens, and says what.
    pub async fn attend<T>(&mut self, something: impl Future<Output = T>) -> T {
        let mut something = std::pin::pin!(something);
        let mut status = tokio::time::interval(STATUS_PERIOD);
        let mut exceptions = tokio::time::interval(EXCEPTIONS_PERIOD);
        loop {
            tokio::select! {
                happened = &mut something => return happened,
                _ = exceptions.tick(), if self.enforcer.is_some() => {
                    if let Some(enforcer) = &mut self.enforcer {
                        enforcer.follow(jiff::Timestamp::now());
                    }
                }
                _ = status.tick() => {
                    self.kernel_log.flush();
                    self.write_status();
                }
            }
        }
    }

    fn write_status(&mut self) {
        let Some(file) = &mut self.status else { return };
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
        if let Err(error) = file.write(&status) {
            tracing::debug!("status file: {error}");
        }
    }

    /// What was seen is judged and goes out, then nothing is attached any more.
    pub fn stop(self) {
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

fn settings(config: &Config, unread_hidden: bool, tree: Option<&Tree>) -> Settings {
    let offsets = Offsets::read().unwrap_or_else(|| {
        tracing::warn!("this kernel has no BTF: UDP packets will have no process");
        Offsets::default()
    });
    Settings {
        include_loopback: config.include_loopback,
        accepted_connections: config.accepted_connections,
        response_budget: config.response_budget.per_period(),
        ring_bytes: config.ring_bytes.get(),
        offsets,
        unread_hidden,
        tree: tree.map(Tree::id),
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
