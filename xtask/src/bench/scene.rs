//! What all measurements need: nginx in a network of its own, an agent, a load.

use crate::{
    network::Network,
    program::Program,
    shell::{self, output, which},
};
use anyhow::{Context as _, Result, ensure};
use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

pub const TLS_PORT: u16 = 8443;
pub const PLAIN_PORT: u16 = 8080;
/// The file with the body of every response.
const BODY: &str = "body";
/// Bytes of a body that nginx takes in its configuration.
const IN_PLACE: usize = 2048;
const PATIENCE: Duration = Duration::from_secs(30);

/// What the agent does.
#[derive(Clone, Copy)]
pub enum Mode {
    /// It captures everything, whatever the budget is by default.
    Detect,
    /// As it does by default.
    Block,
}

pub struct Scene {
    // In the order they are taken down.
    nginx: Program,
    pub network: Network,
    pub folder: PathBuf,
}

impl Scene {
    /// `body` bytes answer every request.
    pub fn set(body: usize) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("keymoat-bench-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let network = Network::new()?;
        certificate(&folder)?;
        fs::write(
            folder.join(BODY),
            "0123456789abcdef".repeat(body.div_ceil(16)).as_bytes().get(..body).unwrap_or_default(),
        )?;
        fs::write(folder.join("nginx.conf"), configuration(&folder, body))?;
        let mut command = network.command("nginx")?;
        command.arg("-e").arg("stderr").arg("-c").arg(folder.join("nginx.conf"));
        let nginx = Program::start("nginx", command, false)?;
        let address = SocketAddr::from((network.address, PLAIN_PORT));
        nginx.wait("an open port", PATIENCE, || TcpStream::connect(address).ok())?;
        Ok(Self { nginx, network, folder })
    }

    pub fn address(&self, port: u16) -> SocketAddr {
        SocketAddr::from((self.network.address, port))
    }

    /// A release build of the agent, everything attached.
    pub fn agent(&self, mode: Mode) -> Result<Program> {
        let lines = self.folder.join("agent.jsonl");
        let config = self.folder.join("agent.toml");
        let key = self.folder.join("fleet.key");
        fs::write(&key, "benchmarks-only-fleet-key-0123456789abcdef")?;
        private(&key)?;
        let status = self.folder.join("status.json");
        fs::write(
            &config,
            format!(
                "fleet_key_file = {:?}\nstatus_file = {:?}\nlog = \"warn\"\n{}",
                key.display(),
                status.display(),
                match mode {
                    Mode::Detect => "response_budget = 0\n",
                    Mode::Block => "",
                }
            ),
        )?;
        let _ = fs::remove_file(&lines);
        let mut command = Command::new(release("keymoat"));
        command.arg("agent").arg("--config").arg(&config).arg("--jsonl").arg(&lines);
        command.args(match mode {
            Mode::Detect => ["--mode", "detect"],
            Mode::Block => ["--mode", "block"],
        });
        let agent = Program::start("the agent", command, false)?;
        agent.wait("its ready line", PATIENCE, || {
            fs::read_to_string(&lines).ok().filter(|text| text.contains("\"type\":\"ready\""))
        })?;
        Ok(agent)
    }

    /// Lines of this type that the agent has written.
    pub fn said(&self, kind: &str) -> Vec<String> {
        let text = fs::read_to_string(self.folder.join("agent.jsonl")).unwrap_or_default();
        let wanted = format!("\"type\":\"{kind}\"");
        text.lines().filter(|line| line.contains(&wanted)).map(ToOwned::to_owned).collect()
    }

    pub fn alive(&self) -> Result<()> {
        self.nginx.alive()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // Nothing is lost with what stays behind in a temporary folder.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A program of the release build, or one of its examples.
pub fn release(name: &str) -> PathBuf {
    shell::target().join("release").join(name)
}

/// The OpenSSL that nginx and h2load share.
pub fn openssl_library() -> Result<PathBuf> {
    let h2load = which("h2load").context("h2load is missing")?;
    let text = output(Command::new("ldd").arg(h2load))?;
    let line = text.lines().find(|line| line.contains("libssl")).context("h2load links no libssl")?;
    let path = line.split_whitespace().nth(2).context("ldd names no path for libssl")?;
    Ok(PathBuf::from(path))
}

/// Requests per second over `connections` kept-alive connections (HTTP/1.1, one request at a time on each), each request with about
/// 1 KB of headers. The load does not ask how much it has to read: some kernels do not say (`keymoat doctor`, `unread`).
pub fn requests_per_second(url: &str, connections: usize, seconds: u64) -> Result<f64> {
    let padding = format!("X-Padding: {}", "abcdefghijklmnopqrstuvwxyz012345 ".repeat(27));
    let h2load = which("h2load").context("h2load is missing")?;
    let mut command = Command::new(h2load);
    command.args(["--h1", "-t1"]).arg(format!("-c{connections}")).arg(format!("-D{seconds}"));
    command.args(["-H", &padding, url]);
    let text = output(&mut command)?;
    ensure!(text.contains(" 0 failed, 0 errored, 0 timeout"), "h2load got errors:\n{text}");
    let rate = text.lines().find_map(|line| line.split_once(" req/s")?.0.rsplit(' ').next());
    rate.and_then(|rate| rate.parse().ok()).with_context(|| format!("h2load said no rate:\n{text}"))
}

fn certificate(folder: &Path) -> Result<()> {
    let mut command = Command::new(which("openssl").context("openssl is missing")?);
    command.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=bench.test"]);
    command.arg("-keyout").arg(folder.join("key.pem")).arg("-out").arg(folder.join("cert.pem"));
    output(&mut command).map(drop)
}

fn private(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o600))?)
}

/// What answers: a text in the configuration, which may be short only, or a file.
fn configuration(folder: &Path, body: usize) -> String {
    let answer = match body {
        0..=IN_PLACE => {
            format!("return 200 \"{}\";", "0123456789abcdef".chars().cycle().take(body).collect::<String>())
        }
        _ => format!("root {}; sendfile on; tcp_nopush on; try_files /{BODY} =404;", folder.display()),
    };
    let folder = folder.display();
    format!(
        "daemon off; worker_processes 1; worker_rlimit_nofile 65536; pid {folder}/nginx.pid;
events {{ worker_connections 32768; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 600s; default_type text/plain;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen {PLAIN_PORT} backlog=16384; listen {TLS_PORT} ssl;
    ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
    location / {{ {answer} }}
  }}
}}
"
    )
}
