//! Programs that people use every day, over TLS, with no key in what they send: each works as without keymoat.

use keymoat_tests::commands::*;
use keymoat_tests::nginx::Nginx;
use keymoat_tests::postgres::Postgres;
use keymoat_tests::{Agent, Client, Expect, FakeKey, Net, Options, Server, env, pki};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const NAME: &str = "keymoat-nothing";
const TIMES: usize = 30;

/// After [`Agent::settle`]: there is no finding about what went to this port.
fn assert_unharmed(agent: &Agent, port: u16) {
    agent.settle();
    let to_it = agent.findings().into_iter().filter(|it| it.destination.port == Some(port));
    let wrong: Vec<_> = to_it.map(|it| it.facts()).collect();
    assert!(wrong.is_empty(), "findings in clean traffic: {wrong:#?}");
}

/// Repositories of one package for pip, npm and apt, and their address.
fn repositories() -> (Nginx, String) {
    let folder = env::fresh_dir("repositories");
    let nginx = Nginx::of_files(&folder);
    let url = format!("https://{}:{}", Net::shared().v4, nginx.port);
    let mut make = Command::new("/usr/bin/python3");
    Client::run({
        make.arg(program("package_repositories.py")).arg(&folder).arg(&url);
        make
    });
    (nginx, url)
}

/// A folder with a `page` of 300,000 bytes.
fn a_page() -> PathBuf {
    let folder = env::fresh_dir("files");
    fs::write(folder.join("page"), "words ".repeat(50_000)).expect("a file to serve");
    folder
}

/// A command that knows nothing of this user's settings.
fn unsettled(program: impl AsRef<std::ffi::OsStr>, home: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("HOME", home).env("PATH", "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.current_dir(home);
    command
}

#[test]
fn curl_asks_nginx() {
    let agent = Agent::shared_as(&Options::blocking());
    let folder = a_page();
    let nginx = Nginx::of_files(&folder);
    for number in 0..TIMES {
        let url = format!("https://{}:{}/page?number={number}", Net::shared().v4, nginx.port);
        let client =
            Client::run(Args::new("curl").args(["-sS", "--fail", "--cacert", &authority(), &url]).command);
        assert_eq!(client.stdout.len(), 300_000);
    }
    assert_unharmed(&agent, nginx.port);
}

#[test]
fn nginx_asks_for_others() {
    let agent = Agent::shared_as(&Options::blocking());
    let server = Server::https();
    let nginx = Nginx::proxy_of(&server, pki::HOST);
    for number in 0..TIMES {
        let url = format!("http://127.0.0.1:{}/v1/items?number={number}", nginx.port);
        let args = ["-sS", "--fail", "-d", "nothing secret", &url];
        assert_eq!(Client::run(Args::new("curl").args(args).command).stdout, "ok\n");
    }
    assert_eq!(server.received().len(), TIMES);
    assert_unharmed(&agent, server.port);
}

/// It reads only as long as the kernel says that there is more (FIONREAD), which some kernels do not say of connections whose messages
/// are judged.
#[test]
fn nginx_keeps_its_connections_to_others() {
    let agent = Agent::shared_as(&Options::blocking());
    let folder = a_page();
    let files = Nginx::of_files_in_the_clear(&folder);
    let proxy = Nginx::keeping_proxy_of(files.port);
    for _ in 0..TIMES {
        let url = format!("http://127.0.0.1:{}/page", proxy.port);
        let client = Client::run(Args::new("curl").args(["-sS", "--fail", &url]).command);
        assert_eq!(client.stdout.len(), 300_000);
    }
    assert_unharmed(&agent, files.port);
}

#[test]
fn nginx_passes_no_key_on() {
    let agent = Agent::shared_as(&Options::blocking());
    let (server, key) = (Server::http(), FakeKey::anthropic());
    let proxy = Nginx::keeping_proxy_of(server.port);
    let url = format!("http://127.0.0.1:{}/v1/items", proxy.port);
    let ask = || Args::new("curl").args(["-sS", "--fail", &url]);
    assert_eq!(Client::run(ask().command).stdout, "ok\n");
    let leaking = ask().args(header("x-api-key: ", Some(&key)));
    assert!(!Client::start(leaking.command).end().status.success());
    agent.expect(&Expect::key(&key).action("blocked"));
    assert_eq!(Client::run(ask().command).stdout, "ok\n");
    server.assert_never(key.reveal().as_bytes());
}

/// On kernels where its messages are not judged, too; and what goes home does.
#[test]
fn nginx_passes_no_key_on_over_tls() {
    let agent = Agent::shared_as(&Options::blocking());
    let key = FakeKey::anthropic();
    let ask = |proxy: &Nginx, key: Option<&FakeKey>| {
        let url = format!("http://127.0.0.1:{}/v1/messages", proxy.port);
        Client::start(
            Args::new("curl").args(["-sS", "--fail", &url]).args(header("x-api-key: ", key)).command,
        )
        .end()
    };
    let (elsewhere, home) = (Server::https(), Server::https());
    let proxy = Nginx::proxy_of(&elsewhere, pki::HOST);
    assert_eq!(ask(&proxy, None).stdout, "ok\n");
    assert!(!ask(&proxy, Some(&key)).status.success());
    agent.expect_once(&Expect::key(&key).action("blocked").host(pki::HOST, "sni").comm("nginx"), &key);
    assert_eq!(ask(&proxy, None).stdout, "ok\n");
    elsewhere.assert_never(key.reveal().as_bytes());

    let (proxy, key) = (Nginx::proxy_of(&home, pki::ANTHROPIC), FakeKey::anthropic());
    assert_eq!(ask(&proxy, Some(&key)).stdout, "ok\n");
    home.wait_for(key.reveal().as_bytes());
    agent.expect_once(&Expect::key(&key).action("allowed").host(pki::ANTHROPIC, "sni"), &key);
}

#[test]
fn python_and_node_keep_asking() {
    let agent = Agent::shared_as(&Options::blocking());
    let server = Server::https();
    let address = url("https", &server);
    let python_code = "import requests, sys\nfor _ in range(30): assert requests.post(sys.argv[1], json={'a': 1}).text == 'ok\\n'";
    Client::run({
        let mut command = Command::new(python_with_requests());
        command.env("REQUESTS_CA_BUNDLE", pki::authority()).args(["-c", python_code, &address]);
        command
    });
    let node_code = "for (let i = 0; i < 30; i++) { const answer = await fetch(process.argv[1], { method: 'POST', body: 'a' }); \
                     if (await answer.text() !== 'ok\\n') process.exit(1); }";
    let args = ["--input-type=module", "-e", node_code, &address];
    Client::run(node_with(&args));
    assert_eq!(server.received().len(), 2 * TIMES);
    assert_unharmed(&agent, server.port);
}

fn node_with(args: &[&str]) -> Command {
    let mut command = Command::new(env::tool("node"));
    command.env("NODE_EXTRA_CA_CERTS", pki::authority()).args(args);
    command
}

#[test]
fn git_pushes_and_clones() {
    let agent = Agent::shared_as(&Options::blocking());
    let (server, work) = (Server::git(), env::fresh_dir("work"));
    let target = format!("https://{}:{}/notes.git", server.address().ip(), server.port);
    let git = |args: &[&str]| {
        let mut command = unsettled(env::tool("git"), &work);
        command.env("GIT_SSL_CAINFO", pki::authority());
        command.args(["-c", "user.name=test", "-c", "user.email=test@keymoat.test"]).args(args);
        Client::run(command)
    };
    git(&["init", "-q", "--initial-branch", &format!("b{}", server.port), "."]);
    for number in 0..TIMES / 3 {
        let words = format!("{number} {}\n", keymoat_tests::key::random(2000));
        fs::write(work.join(format!("file{number}")), words).expect("a file to commit");
        git(&["add", "."]);
        git(&["commit", "-q", "-m", "words"]);
        git(&["push", "-q", &target, "HEAD"]);
        let copy = format!("copy{number}");
        git(&[
            "clone",
            "-q",
            "--branch",
            &format!("b{}", server.port),
            &target,
            &format!("../{}-{copy}", server.port),
        ]);
        fs::remove_dir_all(work.with_file_name(format!("{}-{copy}", server.port))).expect("a copy to remove");
    }
    assert_unharmed(&agent, server.port);
}

#[test]
fn pip_downloads() {
    let agent = Agent::shared_as(&Options::blocking());
    let ((nginx, url), home) = (repositories(), env::fresh_dir("pip"));
    for number in 0..3 {
        let mut command = unsettled("/usr/bin/python3", &home);
        command.args(["-m", "pip", "--isolated", "download", "--quiet", "--no-deps", "--no-cache-dir"]);
        command.args(["--disable-pip-version-check", "--cert", &authority(), "--index-url"]);
        command.arg(format!("{url}/simple/")).args(["--dest", &format!("{number}"), NAME]);
        Client::run(command);
        assert_eq!(fs::read_dir(home.join(number.to_string())).expect("what came").count(), 1);
    }
    assert_unharmed(&agent, nginx.port);
}

#[test]
fn npm_installs() {
    let agent = Agent::shared_as(&Options::blocking());
    let ((nginx, url), home) = (repositories(), env::fresh_dir("npm"));
    for number in 0..3 {
        let cache = format!("cache{number}");
        let mut command = unsettled(env::tool("npm"), &home);
        command.env("NODE_EXTRA_CA_CERTS", pki::authority());
        command.args(["install", "--silent", "--no-audit", "--no-fund", "--no-update-notifier"]);
        command.args(["--cache", &cache, "--prefix", &format!("{number}"), "--registry"]);
        command.arg(format!("{url}/npm/")).arg(NAME);
        Client::run(command);
        assert!(home.join(format!("{number}/node_modules/{NAME}/index.js")).exists());
    }
    assert_unharmed(&agent, nginx.port);
}

#[test]
fn apt_updates_and_downloads() {
    let agent = Agent::shared_as(&Options::blocking());
    let ((nginx, url), home) = (repositories(), env::fresh_dir("apt"));
    let sources = home.join("sources.list");
    fs::write(&sources, format!("deb [trusted=yes] {url}/apt ./\n")).expect("a list of sources");
    let apt = |words: &[&str]| {
        let mut command = unsettled(env::tool("apt-get"), &home);
        let folder = |name: &str| format!("{name}={}", home.display());
        let file = format!("Dir::Etc::sourcelist={}", sources.display());
        let authority = format!("Acquire::https::CAInfo={}", authority());
        for option in [
            &file,
            "Dir::Etc::sourceparts=-",
            &folder("Dir::State"),
            &folder("Dir::Cache"),
            &authority,
            "APT::Sandbox::User=root",
        ] {
            command.args(["-o", option]);
        }
        Client::run({
            command.args(words);
            command
        })
    };
    for _ in 0..5 {
        apt(&["update"]);
        apt(&["download", NAME]);
        fs::remove_file(home.join(format!("{NAME}_1.0.0_all.deb"))).expect("what was downloaded");
        fs::remove_dir_all(home.join("lists")).expect("what is known of the repository");
    }
    assert_unharmed(&agent, nginx.port);
}

#[test]
fn psql_queries_and_copies() {
    let agent = Agent::shared_as(&Options::blocking());
    let server = Postgres::start();
    for number in 0..TIMES {
        let mut psql = server.psql();
        psql.args(["-c", &format!("select {number} + count(*) from generate_series(1, 100)")]);
        assert_eq!(Client::run(psql).stdout.trim(), (number + 100).to_string());
    }
    let mut script = "create table note (line text);\n".to_owned();
    for _ in 0..TIMES {
        let line = keymoat_tests::key::random(60);
        script += &format!("insert into note values ('{line}');\n");
    }
    let lines: String = (0..20_000).map(|number| format!("{number} {}\n", "words ".repeat(9))).collect();
    script += &format!("copy note from stdin;\n{lines}\\.\nselect count(*) from note;\n");
    let copied = Client::run_with(server.psql(), script.as_bytes());
    assert!(copied.stdout.trim().ends_with("20030"), "{}", copied.stdout);
    assert_unharmed(&agent, server.port());
}

#[test]
fn psql_sends_no_key() {
    let agent = Agent::shared_as(&Options::blocking());
    let server = Postgres::start();
    let key = FakeKey::anthropic();
    let mut psql = server.psql();
    psql.args(["-c", &format!("select '{}'", key.reveal())]);
    assert!(!Client::start(psql).end().status.success());
    agent.expect(&Expect::key(&key).action("blocked"));
}

/// All of them, two side by side, again and again under one agent: in a run of its own for an hour.
#[test]
fn all_again_and_again_for_an_hour() {
    const ALL: [(&str, fn()); 9] = [
        ("curl and nginx", curl_asks_nginx),
        ("nginx and its upstreams", nginx_asks_for_others),
        ("nginx and the connections that it keeps", nginx_keeps_its_connections_to_others),
        ("Python and Node", python_and_node_keep_asking),
        ("git", git_pushes_and_clones),
        ("pip", pip_downloads),
        ("npm", npm_installs),
        ("apt", apt_updates_and_downloads),
        ("psql", psql_queries_and_copies),
    ];
    // Each takes the shared agent itself: to hold it here as well would keep them from it while another test waits for its own.
    let end = Instant::now() + Duration::from_secs(60 * env::count(0, 60) as u64);
    let done = AtomicUsize::new(0);
    let work = || {
        loop {
            let number = done.fetch_add(1, Ordering::Relaxed);
            if number >= ALL.len() && Instant::now() >= end {
                return;
            }
            let (name, work) = ALL[number % ALL.len()];
            eprintln!("{number}: {name}");
            work();
        }
    };
    thread::scope(|scope| (0..2).for_each(|_| drop(scope.spawn(work))));
}
