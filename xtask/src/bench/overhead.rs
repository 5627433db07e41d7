//! What the agent costs a server under load: nginx and h2load over a veth pair, everything captured.

use super::{
    scene::{Mode, PLAIN_PORT, Scene, TLS_PORT, openssl_library, release, requests_per_second},
    stats::Spread,
};
use crate::{
    program::Program,
    shell::{self, say},
};
use anyhow::{Result, bail};
use std::{process::Command, time::Duration};

#[derive(clap::Args)]
pub struct Args {
    /// Rounds; each measures every case once
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// Seconds of load per measurement
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Connections kept alive
    #[arg(long, default_value_t = 16)]
    connections: usize,
}

/// Bytes of each response.
const BODY: usize = 1024;

/// Requests per second, a value per round.
#[derive(Default)]
struct Rates {
    tls_unprobed: Vec<f64>,
    tls_noop: Vec<f64>,
    tls_agent: Vec<f64>,
    plain_unprobed: Vec<f64>,
    plain_agent: Vec<f64>,
}

pub fn run(args: &Args) -> Result<()> {
    let scene = Scene::set(BODY)?;
    let mut rates = Rates::default();
    let mut losses = Vec::new();
    for round in 1..=args.rounds {
        measure(&scene, args, &mut rates)?;
        losses.extend(scene.said("loss"));
        let here = scene.network.address.to_string();
        if scene.said("finding").iter().any(|line| line.contains(&here)) {
            bail!("the load holds no secret, and the agent found one");
        }
        say(format!("round {round} of {}", args.rounds));
        if shell::interrupted() {
            bail!("interrupted");
        }
    }
    report(args, &rates, &losses);
    Ok(())
}

fn measure(scene: &Scene, args: &Args, rates: &mut Rates) -> Result<()> {
    let tls = format!("https://{}/", scene.address(TLS_PORT));
    let plain = format!("http://{}/", scene.address(PLAIN_PORT));
    let load = |url: &str| requests_per_second(url, args.connections, args.seconds);
    rates.tls_unprobed.push(load(&tls)?);
    rates.plain_unprobed.push(load(&plain)?);
    {
        let _noop = noop()?;
        rates.tls_noop.push(load(&tls)?);
    }
    let agent = scene.agent(Mode::Detect)?;
    rates.tls_agent.push(load(&tls)?);
    rates.plain_agent.push(load(&plain)?);
    agent.alive()?;
    scene.alive()
}

/// A probe that does nothing, on the first instruction of the function nginx and h2load call.
fn noop() -> Result<Program> {
    let mut command = Command::new(release("examples/noop_uprobe"));
    command.arg(openssl_library()?).args(["SSL_write", "SSL_write_ex"]);
    let program = Program::start_with_input("the yardstick", command)?;
    program.wait("readiness", Duration::from_secs(10), || program.said().contains("ready").then_some(()))?;
    Ok(program)
}

fn report(args: &Args, rates: &Rates, losses: &[String]) {
    println!(
        "\nnginx and h2load over a veth pair: {} rounds of {} s, {} connections kept alive, about 1 KB per request and \
         {BODY} bytes per response; median (lowest – highest)\n",
        args.rounds, args.seconds, args.connections
    );
    println!("| case | requests/s | ratio to unprobed |\n|---|---|---|");
    let row = |name: &str, values: &[f64], base: &[f64]| {
        println!("| {name} | {:.0} | {:.2} |", Spread::of(values), Spread::ratio(values, base));
    };
    row("HTTPS, unprobed", &rates.tls_unprobed, &rates.tls_unprobed);
    row("HTTPS, a probe that does nothing at the entry of SSL_write", &rates.tls_noop, &rates.tls_unprobed);
    row("HTTPS, the agent, everything captured", &rates.tls_agent, &rates.tls_unprobed);
    row("HTTP, unprobed", &rates.plain_unprobed, &rates.plain_unprobed);
    row("HTTP, the agent, everything captured", &rates.plain_agent, &rates.plain_unprobed);
    println!("\n| what | measured | target |\n|---|---|---|");
    let target = |name: &str, spread: Spread, least: f64| {
        let verdict = if spread.median >= least { "met" } else { "missed" };
        println!("| {name} | {spread:.2} | ≥ {least:.2}: {verdict} |");
    };
    target("agent / probe that does nothing", Spread::ratio(&rates.tls_agent, &rates.tls_noop), 1.0);
    target("agent / unprobed, HTTPS", Spread::ratio(&rates.tls_agent, &rates.tls_unprobed), 0.60);
    target("agent / unprobed, HTTP", Spread::ratio(&rates.plain_agent, &rates.plain_unprobed), 0.80);
    println!("\nNot delivered: {}", losses.last().map_or("nothing", String::as_str));
}
