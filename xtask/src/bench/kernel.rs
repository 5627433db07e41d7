//! What block mode costs: the scan beside an automaton in userspace, a judged call beside a probe that does nothing, more rules
//! beside fewer, and a server under load with and without.

use super::{
    scene::{Mode, PLAIN_PORT, Scene, TLS_PORT, release, requests_per_second},
    stats::Spread,
};
use crate::shell::{self, output, say};
use anyhow::{Context as _, Result, bail};
use std::{collections::BTreeMap, process::Command};

#[derive(clap::Args)]
pub struct Args {
    /// Rounds; each measures every case once
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// Seconds of load per measurement; 0: none
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    /// Connections kept alive
    #[arg(long, default_value_t = 16)]
    connections: usize,
}

/// What the example measures: name, what it is, unit, and the most its ratio may be.
const PARTS: [(&str, &str, &str, f64); 6] = [
    ("scan:http", "scan in the kernel / an aho-corasick DFA, requests", "ns/byte", 2.0),
    ("scan:json", "the same, JSON", "ns/byte", 2.0),
    ("scan:base64", "the same, base64", "ns/byte", 2.0),
    ("write", "a TLS write of 64 bytes, judged / a probe that does nothing there", "ns", 1.5),
    ("verify", "verification of all judging programs, 1,000 rules / 10", "ms", 1.05),
    ("instructions", "instructions walked for that", "", 1.05),
];

/// Loads: what it is, TLS or not, bytes of each response, and the least that has to be left of the rate without the agent.
const LOADS: [(&str, bool, usize, f64); 4] = [
    ("HTTPS, 1 KiB", true, 1024, 0.90),
    ("HTTP, 1 KiB", false, 1024, 0.93),
    ("HTTP, 128 KiB", false, 128 << 10, 0.90),
    ("HTTP, 10 MiB", false, 10 << 20, 0.90),
];

pub fn run(args: &Args) -> Result<()> {
    parts(args)?;
    if args.seconds > 0 {
        loads(args)?;
    }
    Ok(())
}

/// Measured, and what it is held against, a value per round.
type Series = (Vec<f64>, Vec<f64>);

fn parts(args: &Args) -> Result<()> {
    let mut command = Command::new(release("examples/kernel_cost"));
    let said = output(command.arg(args.rounds.to_string()))?;
    let mut series: BTreeMap<&str, Series> = BTreeMap::new();
    for line in said.lines() {
        let mut words = line.split(' ');
        let name = words.next().unwrap_or_default();
        let mut number = || words.next().and_then(|word| word.parse::<f64>().ok()).context(line.to_owned());
        let (measured, base) = series.entry(name).or_default();
        measured.push(number()?);
        base.push(number()?);
    }
    println!("\n| what | measured | base | ratio | target |\n|---|---|---|---|---|");
    for (name, what, unit, most) in PARTS {
        let (measured, base) = series.get(name).with_context(|| format!("no `{name}` was measured"))?;
        let ratio = Spread::ratio(measured, base);
        let verdict = if ratio.median <= most { "met" } else { "missed" };
        let (measured, base) = (Spread::of(measured).median, Spread::of(base).median);
        println!(
            "| {what} | {measured:.1} {unit} | {base:.1} {unit} | {ratio:.2} | ≤ {most:.2}: {verdict} |"
        );
    }
    Ok(())
}

fn loads(args: &Args) -> Result<()> {
    let mut rows = Vec::new();
    for (what, tls, body, least) in LOADS {
        let scene = Scene::set(body)?;
        let (scheme, port) = if tls { ("https", TLS_PORT) } else { ("http", PLAIN_PORT) };
        let url = format!("{scheme}://{}/", scene.address(port));
        let load = || requests_per_second(&url, args.connections, args.seconds);
        let (mut unprobed, mut blocking) = (Vec::new(), Vec::new());
        for round in 1..=args.rounds {
            unprobed.push(load()?);
            let agent = scene.agent(Mode::Block)?;
            blocking.push(load()?);
            agent.alive()?;
            scene.alive()?;
            say(format!("{what}: round {round} of {}", args.rounds));
            if shell::interrupted() {
                bail!("interrupted");
            }
        }
        if !scene.said("finding").is_empty() || !scene.said("refusal").is_empty() {
            bail!("the load holds no secret, and the agent found one");
        }
        rows.push((
            what,
            Spread::of(&unprobed),
            Spread::ratio(&blocking, &unprobed),
            least,
            scene.said("loss"),
        ));
    }
    println!(
        "\n| load | requests/s without | with `--mode block` | target | not delivered |\n|---|---|---|---|---|"
    );
    for (what, rate, ratio, least, lost) in rows {
        let verdict = if ratio.median >= least { "met" } else { "missed" };
        let lost = lost.last().map_or("nothing", String::as_str);
        println!("| {what} | {rate:.0} | {ratio:.2} | ≥ {least:.2}: {verdict} | {lost} |");
    }
    Ok(())
}
