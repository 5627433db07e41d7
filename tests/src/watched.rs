//! Commands under `keymoat run`.

use crate::agent::{config_file, lock_host};
use crate::child::{Client, Finished};
use crate::record::{Finding, Line, Record};
use crate::{Expect, env};
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

/// A command that runs, watched.
#[derive(Debug)]
pub struct Watched {
    client: Client,
    jsonl: PathBuf,
    /// No other test's agent runs meanwhile.
    _lock: Option<File>,
}

/// One that ended, and what was found.
#[derive(Debug)]
pub struct Ended {
    /// Its process id is that of `keymoat run`.
    pub client: Finished,
    findings: Vec<Finding>,
}

impl Watched {
    /// `options` are those of `keymoat run`.
    pub fn start(options: &[&str], command: &Command) -> Self {
        Self { _lock: Some(lock_host()), ..Self::beside_others(options, command) }
    }

    /// The same while an agent runs that the test has started.
    pub fn beside_others(options: &[&str], command: &Command) -> Self {
        let jsonl = env::fresh_dir("run").join("findings.jsonl");
        let mut run = Command::new(env::bin("keymoat", "keymoat-agent"));
        run.arg("run").arg("--config").arg(config_file("")).arg("--jsonl").arg(&jsonl).args(options);
        run.arg("--").arg(command.get_program()).args(command.get_args());
        run.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        Self { client: Client::start(run), jsonl, _lock: None }
    }

    pub fn run(options: &[&str], command: &Command) -> Ended {
        Self::start(options, command).end()
    }

    /// Of `keymoat run`.
    pub fn pid(&self) -> u32 {
        self.client.pid()
    }

    pub fn wait_line(&mut self, wanted: &str) {
        self.client.wait_line(wanted);
    }

    pub fn say(&mut self, input: &[u8]) {
        self.client.say(input);
    }

    pub fn end(self) -> Ended {
        let client = self.client.end();
        // Where it did not start, there is no file.
        let text = fs::read_to_string(&self.jsonl).unwrap_or_default();
        let lines =
            text.lines().map(|line| serde_json::from_str::<Line>(line).expect("a line of the contract"));
        let findings = lines.filter_map(|line| match line.record {
            Record::Finding(finding) => Some(*finding),
            _ => None,
        });
        Ended { client, findings: findings.collect() }
    }
}

impl Ended {
    pub fn code(&self) -> Option<i32> {
        self.client.status.code()
    }

    /// There is a finding that says all of this.
    pub fn expect(&self, expect: &Expect) -> &Finding {
        let fits = |finding: &&Finding| expect.is_about(finding) && expect.differences(finding).is_empty();
        let found = self.findings.iter().find(fits);
        found.unwrap_or_else(|| panic!("{}{}", expect.explain(self.findings.iter()), self.client.stderr))
    }

    pub fn assert_silent(&self) {
        assert!(self.findings.is_empty(), "findings: {:#?}", self.findings);
    }
}
