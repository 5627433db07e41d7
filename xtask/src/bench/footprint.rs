//! What the agent takes while nothing leaves: memory with many flows open, processor time when idle.

use super::scene::{Mode, PLAIN_PORT, Scene};
use crate::{program::Program, shell::say};
use anyhow::{Context as _, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

#[derive(clap::Args)]
pub struct Args {
    /// Connections open at once; nginx's ends of them are flows, too
    #[arg(long, default_value_t = 5_000)]
    connections: u64,
    /// Seconds of doing nothing
    #[arg(long, default_value_t = 30)]
    seconds: u64,
}

pub fn run(args: &Args) -> Result<()> {
    let files = args.connections + 1_000;
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(files), maximum }).with_context(|| {
        format!("{files} open files are too many here (ulimit -Hn); take fewer --connections")
    })?;
    let scene = Scene::set(64)?;
    let agent = scene.agent(Mode::Detect)?;
    let at_start = memory(&agent)?;
    let idle = processor_share(&agent, Duration::from_secs(args.seconds))?;

    let mut open = Vec::new();
    for _ in 0..args.connections {
        open.push(exchange(&scene)?);
    }
    let flows = open.len() * 2;
    say(format!("{flows} flows open"));
    let busy_idle = processor_share(&agent, Duration::from_secs(args.seconds))?;
    let full = memory(&agent)?;
    // A program that ended while it was looked at is no loss of what was measured.
    let losses: Vec<String> =
        scene.said("loss").into_iter().filter(|line| !line.contains("{\"library-unreadable\":")).collect();
    ensure!(losses.is_empty(), "the agent lost something: {losses:?}");

    let verdict = |met: bool| if met { "met" } else { "missed" };
    println!("\n| what | measured | target |\n|---|---|---|");
    println!("| resident memory at start | {:.1} MiB | |", mebibytes(at_start));
    println!(
        "| resident memory, {flows} open flows | {:.1} MiB | ≤ 80 MiB: {} |",
        mebibytes(full),
        verdict(mebibytes(full) <= 80.0)
    );
    println!("| processor time when idle | {:.2} % | ≤ 0.5 %: {} |", idle * 100.0, verdict(idle <= 0.005));
    println!(
        "| the same, {flows} open flows | {:.2} % | ≤ 0.5 %: {} |",
        busy_idle * 100.0,
        verdict(busy_idle <= 0.005)
    );
    Ok(())
}

/// One request and its answer, plain, so that both ends are captured; the connection stays open.
fn exchange(scene: &Scene) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(scene.address(PLAIN_PORT))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: bench.test\r\n\r\n")?;
    let mut answer = [0; 512];
    let read = stream.read(&mut answer)?;
    ensure!(read > 0, "nginx closed the connection");
    Ok(stream)
}

/// Resident bytes.
fn memory(agent: &Program) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kibibytes * 1024)
}

/// Share of one processor used over `period`.
fn processor_share(agent: &Program, period: Duration) -> Result<f64> {
    let started = Instant::now();
    let before = processor_time(agent)?;
    std::thread::sleep(period);
    Ok((processor_time(agent)? - before) / started.elapsed().as_secs_f64())
}

/// Seconds of processor time so far, all threads, from the scheduler's own nanoseconds: ticks are too coarse.
fn processor_time(agent: &Program) -> Result<f64> {
    let mut total = 0.0;
    for task in fs::read_dir(format!("/proc/{}/task", agent.pid()))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        total += text.split(' ').next().context("empty schedstat")?.parse::<f64>()? / 1e9;
    }
    Ok(total)
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}
