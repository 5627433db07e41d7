//! `cargo xtask demo`: a real curl sends a fake key to a real TLS server that is not on loopback; the agent says
//! so on this terminal, the collector has the same finding, and the key itself is in neither.

use crate::{
    build,
    needs::Group,
    network::Network,
    program::Program,
    setup,
    shell::{self, say},
};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use std::{
    env,
    fs::{self, DirBuilder, File},
    io::{IsTerminal as _, Read as _, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

#[derive(clap::Args)]
pub struct Args {
    /// End when everything was shown, instead of waiting for Ctrl-C
    #[arg(long)]
    exit: bool,
    /// The programs are built already: this process was started again as root
    #[arg(long, hide = true)]
    built: bool,
}

const HOST: &str = "collect.example.test";
const PORT: u16 = 8443;

pub fn run(args: &Args) -> Result<()> {
    if !args.built {
        setup::ensure(&[Group::Build, Group::Demo])?;
        build::programs(&[])?;
    }
    if !shell::is_root() {
        return again_as_root(args);
    }
    shell::interrupted(); // from here on, Ctrl-C ends this in order
    let stage = Stage::set()?;
    stage.play()?;
    if args.exit {
        return Ok(());
    }
    println!("\nThe findings' page:  {}\nStill watching this machine; Ctrl-C ends the demo.", stage.page);
    while !shell::interrupted() {
        stage.agent.alive()?;
        stage.collector.alive()?;
        std::thread::sleep(Duration::from_millis(100));
    }
    println!("\nending");
    Ok(())
}

/// A network namespace and kernel programs need root; building does not.
fn again_as_root(args: &Args) -> Result<()> {
    let Some(mut sudo) = shell::as_root("env") else {
        bail!("the demo makes a network namespace and loads kernel programs: run it as root");
    };
    say("going on as root: makes a network namespace and loads kernel programs");
    let path = env::var("PATH").unwrap_or_default();
    sudo.arg(format!("PATH={path}")).arg(env::current_exe()?).args(["demo", "--built"]);
    shell::run(sudo.args(args.exit.then_some("--exit")))
}

/// Everything that runs, in the order it is taken down.
struct Stage {
    agent: Program,
    collector: Program,
    _server: Program,
    network: Network,
    folder: Folder,
    page: String,
}

impl Stage {
    fn set() -> Result<Self> {
        let folder = Folder::new()?;
        let network = Network::new()?;
        let server = start_server(&network, &folder)?;
        let (collector, address, page) = start_collector(&folder)?;
        let agent = start_agent(&folder, &address)?;
        Ok(Self { agent, collector, _server: server, network, folder, page })
    }

    /// The story, and the proof of it.
    fn play(&self) -> Result<()> {
        let key = fake_key()?;
        println!(
            "\n$ curl https://{HOST}:{PORT}/notes --data '{{\"note\": \"prod key, do not share: sk-ant-…\"}}'\n"
        );
        let sent = Instant::now();
        let status = self.curl(&key)?;
        let done = sent.elapsed();
        ensure!(status.starts_with("200"), "curl did not get through: {status}");

        let finding = self.agent.wait("a finding", SOON, || self.finding())?;
        let redacted = text(&finding, "/secret/redacted")?;
        self.agent.wait("the finding on the terminal", SOON, || {
            self.agent.said().contains(redacted).then_some(())
        })?;
        let shown = sent.elapsed();
        let id = text(&finding, "/id")?;
        let stored = self.collector.wait("the finding", SOON, || self.stored(id))?;
        let kept = sent.elapsed();
        for part in ["/secret/fingerprint", "/secret/redacted", "/rule/id", "/destination/host"] {
            let (here, there) = (text(&finding, part)?, text(&stored, part)?);
            ensure!(here == there, "agent and collector disagree on {part}: {here} and {there}");
        }
        let searched = self.search_for(&key)?;

        let since = |time: Duration| format!("{:.2} s", time.as_secs_f64());
        println!(
            "\n{} after curl was started: the finding above (curl itself took {})",
            since(shown),
            since(done)
        );
        println!("{} after curl was started: the same one read back from the collector", since(kept));
        println!("  id {id}, fingerprint {}", text(&finding, "/secret/fingerprint")?);
        println!("The key itself is in none of {searched} bytes that agent and collector printed or stored.");
        Ok(())
    }

    /// The key goes in through a pipe: this process's children have it nowhere but in memory.
    fn curl(&self, key: &str) -> Result<String> {
        // Options in a file: the command line is part of what the finding shows.
        let options = self.folder.0.join("curl.options");
        let cert = self.folder.0.join("cert.pem");
        let address = self.network.address;
        let text = format!(
            "silent\nshow-error\nmax-time = 20\nnoproxy = \"*\"\nresolve = \"{HOST}:{PORT}:{address}\"\n\
             cacert = {cert:?}\noutput = \"/dev/null\"\nwrite-out = \"%{{http_code}}\\n\"\n"
        );
        fs::write(&options, text)?;
        let mut curl = Command::new(shell::which("curl").context("curl is missing")?);
        curl.arg("--config").arg(options).args(["--data", "@-"]).arg(format!("https://{HOST}:{PORT}/notes"));
        curl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = curl.spawn().context("cannot run curl")?;
        let mut pipe = child.stdin.take().context("curl's input")?;
        pipe.write_all(format!("{{\"note\": \"prod key, do not share: {key}\"}}").as_bytes())?;
        drop(pipe);
        let output = child.wait_with_output()?;
        let said = [output.stdout, output.stderr].concat();
        Ok(String::from_utf8_lossy(&said).trim().to_owned())
    }

    fn finding(&self) -> Option<Value> {
        let lines = fs::read_to_string(self.folder.0.join(JSONL)).unwrap_or_default();
        let mut records = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        records.find(|record| {
            let is = |part: &str, wanted: &str| record.pointer(part).and_then(Value::as_str) == Some(wanted);
            is("/type", "finding") && is("/rule/id", RULE) && is("/destination/host", HOST)
        })
    }

    fn stored(&self, id: &str) -> Option<Value> {
        let mut command = Command::new(shell::binaries().join("keymoat-collector"));
        let lines =
            shell::output(command.args(["findings", "--json", "--store", &store(&self.folder)])).ok()?;
        let mut findings = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        findings.find(|finding| finding.pointer("/id").and_then(Value::as_str) == Some(id))
    }

    /// Looks through all that was printed or stored. The number of bytes searched, or an error.
    fn search_for(&self, key: &str) -> Result<usize> {
        let mut places = vec![
            ("the agent's output".to_owned(), self.agent.said().into_bytes()),
            ("the collector's output".to_owned(), self.collector.said().into_bytes()),
        ];
        let curl = shell::which("curl").context("curl is missing")?;
        let page =
            shell::output(Command::new(curl).args(["--silent", "--fail", "--noproxy", "*", &self.page]))?;
        ensure!(page.contains(HOST), "the collector's page does not list the finding");
        places.push(("the collector's page".to_owned(), page.into_bytes()));
        for entry in fs::read_dir(&self.folder.0)? {
            let path = entry?.path();
            places.push((path.display().to_string(), fs::read(&path)?));
        }
        // Half of the secret part is as bad as the whole key.
        let part = key.get(20..60).context("a key is longer than this")?.as_bytes();
        for (place, bytes) in &places {
            ensure!(!bytes.windows(part.len()).any(|window| window == part), "the raw key is in {place}");
        }
        Ok(places.iter().map(|(_, bytes)| bytes.len()).sum())
    }
}

const SOON: Duration = Duration::from_secs(15);
const RULE: &str = "anthropic-api-key";
const JSONL: &str = "agent.jsonl";

/// A server that answers every request, in the other network.
fn start_server(network: &Network, folder: &Folder) -> Result<Program> {
    let (cert, key, script) =
        (folder.0.join("cert.pem"), folder.0.join("key.pem"), folder.0.join("server.py"));
    fs::write(&script, include_str!("demo/server.py"))?;
    let mut openssl = Command::new(shell::which("openssl").context("openssl is missing")?);
    openssl
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", &format!("/CN={HOST}"), "-addext", &format!("subjectAltName=DNS:{HOST}")])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&cert);
    shell::output(&mut openssl)?;
    let mut python = network.command("python3")?;
    python.arg(script).arg(cert).arg(key).arg(PORT.to_string());
    let server = Program::start("the TLS server", python, false)?;
    server.wait("its first word", SOON, || server.said().contains("listening").then_some(()))?;
    Ok(server)
}

/// The collector, where agents reach it, and where its page is.
fn start_collector(folder: &Folder) -> Result<(Program, String, String)> {
    let mut command = Command::new(shell::binaries().join("keymoat-collector"));
    command.args(["serve", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--store", &store(folder)]);
    let collector = Program::start("the collector", command, false)?;
    let ready = collector.wait("its addresses", SOON, || {
        let said = collector.said();
        let mut lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.find(|line| line.pointer("/type").and_then(Value::as_str) == Some("ready"))
    })?;
    let address = |part: &str| Ok::<_, anyhow::Error>(format!("http://{}", text(&ready, part)?));
    Ok((collector, address("/grpc")?, address("/http")? + "/"))
}

/// The agent, with nothing of its own outside the demo's folder. Returns when it sees.
fn start_agent(folder: &Folder, collector: &str) -> Result<Program> {
    let config = folder.0.join("agent.toml");
    let (status, fleet_key) = (folder.0.join("status.json"), folder.0.join("fleet.key"));
    fs::write(&fleet_key, random(FLEET_KEY_LENGTH)?)?;
    fs::write(
        &config,
        format!("log = \"warn\"\nstatus_file = {status:?}\nfleet_key_file = {fleet_key:?}\n"),
    )?;
    fs::set_permissions(&fleet_key, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let jsonl = folder.0.join(JSONL);
    let mut command = Command::new(shell::binaries().join("keymoat"));
    command
        .arg("agent")
        .arg("--config")
        .arg(config)
        .arg("--jsonl")
        .arg(&jsonl)
        .args(["--collector", collector]);
    if std::io::stdout().is_terminal() {
        command.env("CLICOLOR_FORCE", "1"); // its output passes through here on its way to the terminal
    }
    let agent = Program::start("the agent", command, true)?;
    agent.wait("that it is ready", Duration::from_secs(60), || {
        fs::read_to_string(&jsonl).unwrap_or_default().contains("\"type\":\"ready\"").then_some(())
    })?;
    Ok(agent)
}

const FLEET_KEY_LENGTH: usize = 48;

fn store(folder: &Folder) -> String {
    format!("sqlite:{}", folder.0.join("findings.db").display())
}

/// The shape of an Anthropic key, made of pieces so that no scanner stumbles over this file.
fn fake_key() -> Result<String> {
    Ok(["sk-", "ant-", "api03-", &random(93)?, "AA"].concat())
}

/// Random letters and digits.
fn random(length: usize) -> Result<String> {
    let mut bytes = vec![0; length];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let letters = bytes.iter().map(|byte| char::from_digit(u32::from(byte % 36), 36).unwrap_or('0'));
    Ok(letters.collect())
}

fn text<'a>(record: &'a Value, part: &str) -> Result<&'a str> {
    record.pointer(part).and_then(Value::as_str).with_context(|| format!("no {part} in {record}"))
}

/// Everything the demo writes; gone when it ends.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let path = shell::target().join("demo").join(std::process::id().to_string());
        DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            say(format!("{} stays behind: {error}", Path::display(&self.0)));
        }
    }
}
