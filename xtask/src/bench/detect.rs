//! How fast text passes the detector, beside other ways to do the same.

use super::stats::Spread;
use crate::shell::{self, say};
use anyhow::{Context as _, Result};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

#[derive(clap::Args)]
pub struct Args {
    /// Mebibytes of text
    #[arg(long, default_value_t = 64)]
    mib: u32,
    /// Each measures every contestant once
    #[arg(long, default_value_t = 10)]
    rounds: u32,
}

/// Name, whose it is, what it does.
const CONTESTANTS: [(&str, &str); 5] = [
    ("engine", "the engine, all rules, writes of 16 KiB"),
    ("decoders", "the same with messages taken apart and encodings undone"),
    ("http2", "the same requests over HTTP/2"),
    ("literals", "an aho-corasick DFA over the same literals (yardstick)"),
    ("hyperscan", "Hyperscan with the same patterns"),
];

pub fn run(args: &Args) -> Result<()> {
    say("building the contestants (release)");
    let mut build = shell::cargo();
    build.args(["build", "--quiet", "--release", "--package", "keymoat-detect", "--example", "compare"]);
    shell::run(&mut build)?;
    let folder = shell::target().join("bench");
    std::fs::create_dir_all(&folder)?;
    let (text, text2, patterns) =
        (folder.join("http1.bin"), folder.join("http2.bin"), folder.join("patterns.txt"));
    let mib = args.mib.to_string();
    shell::run(compare().args(["traffic", &mib]).arg(&text))?;
    shell::run(compare().args(["http2", &mib]).arg(&text2))?;
    shell::run(compare().arg("patterns").arg(&patterns))?;

    let mut ours = Contestant::start(compare().arg("run").arg(&text))?;
    // Before the others start: they load, too, and the cores are few.
    let load = ours.measure("load")?;
    let mut over_http2 = Contestant::start(compare().arg("run").arg(&text2))?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bench/with_hyperscan.py");
    let mut hyperscan =
        Contestant::start(Command::new(python(&folder)?).arg(script).arg(&patterns).arg(&text))?;

    let set = ours.measure("set")?;
    let mut speeds = vec![Vec::new(); CONTESTANTS.len()];
    for round in 1..=args.rounds {
        say(format!("round {round} of {}", args.rounds));
        for ((name, _), speeds) in CONTESTANTS.iter().zip(&mut speeds) {
            let measured = match *name {
                "hyperscan" => hyperscan.measure("scan")?,
                "http2" => over_http2.measure("decoders")?,
                name => ours.measure(name)?,
            };
            speeds.push(measured.megabytes_per_second());
        }
    }
    report(&speeds, &load, &set);
    Ok(())
}

fn report(speeds: &[Vec<f64>], load: &Measured, set: &Measured) {
    let series = |name: &str| {
        let index = CONTESTANTS.iter().position(|(known, _)| *known == name);
        index.and_then(|index| speeds.get(index)).map_or(&[][..], Vec::as_slice)
    };
    println!("\n| what | MB/s |\n|---|---|");
    for (name, what) in CONTESTANTS {
        println!("| {what} | {:.0} |", Spread::of(series(name)));
    }
    println!("| regex-automata, all patterns as one regex (256 KiB) | {:.2} |", set.megabytes_per_second());

    let verdict = |met: bool| if met { "met" } else { "missed" };
    let engine = series("engine");
    let against = |base: &str, wanted: f64| {
        let ratio = Spread::ratio(engine, series(base));
        println!("| engine / {base} | {ratio} | ≥ {wanted}: {} |", verdict(ratio.median >= wanted));
    };
    println!("\n| what | measured | target |\n|---|---|---|");
    against("literals", 1.0);
    against("hyperscan", 1.3);
    let decoded = Spread::ratio(series("decoders"), series("literals"));
    println!("| decoders included / literals | {decoded} | |");
    let slow = Spread::of(engine).median / set.megabytes_per_second();
    println!("| engine / one regex | {slow:.0} | ≥ 50: {} |", verdict(slow >= 50.0));
    let http2 = Spread::of(series("http2"));
    println!("| HTTP/2, decoders included | {http2:.0} MB/s | ≥ 150: {} |", verdict(http2.median >= 150.0));
    let milliseconds = load.seconds * 1000.0;
    println!(
        "| {} rules loaded | {milliseconds:.0} ms | ≤ 50: {} |",
        load.found,
        verdict(milliseconds <= 50.0)
    );
}

fn compare() -> Command {
    Command::new(shell::target().join("release/examples/compare"))
}

/// A Python that has Hyperscan, in a folder of its own.
fn python(folder: &Path) -> Result<PathBuf> {
    let python = folder.join("hyperscan/bin/python");
    if !python.is_file() {
        say("installing Hyperscan for Python");
        shell::run(Command::new("/usr/bin/python3").args(["-m", "venv"]).arg(folder.join("hyperscan")))?;
        shell::run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "hyperscan"]))?;
    }
    Ok(python)
}

struct Measured {
    seconds: f64,
    bytes: f64,
    found: u64,
}

impl Measured {
    fn megabytes_per_second(&self) -> f64 {
        self.bytes / self.seconds / 1e6
    }
}

/// A process that does its work once for each line it is given.
struct Contestant {
    process: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Contestant {
    fn start(command: &mut Command) -> Result<Self> {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let orders = process.stdin.take().context("no pipe")?;
        let answers = BufReader::new(process.stdout.take().context("no pipe")?);
        Ok(Self { process, orders, answers })
    }

    fn measure(&mut self, order: &str) -> Result<Measured> {
        writeln!(self.orders, "{order}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let numbers: Vec<&str> = line.split_whitespace().collect();
        let [seconds, bytes, found] = numbers.as_slice() else {
            anyhow::bail!("a contestant ended at `{order}`: {:?}", self.process.try_wait()?);
        };
        Ok(Measured { seconds: seconds.parse()?, bytes: bytes.parse()?, found: found.parse()? })
    }
}

impl Drop for Contestant {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
