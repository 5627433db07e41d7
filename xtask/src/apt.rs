//! Debian's package manager.

use crate::shell::{as_root, line, output, run, say, which};
use anyhow::{Context as _, Result};
use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

pub fn is_here() -> bool {
    which("apt-get").is_some() && which("dpkg-query").is_some()
}

pub fn update() -> Result<()> {
    run(root_command()?.args(["update", "-q"]))
}

pub fn install(packages: &[&str]) -> Result<()> {
    let mut install = root_command()?;
    install.args(["install", "-y", "-q", "--no-install-recommends"]).args(packages);
    let _guard = NoNewServices::start();
    run(&mut install)
}

/// Whether the lists know a package of this name.
pub fn offers(package: &str) -> bool {
    let asked = output(Command::new("apt-cache").args(["policy", package]));
    asked.is_ok_and(|text| text.lines().any(|line| line.contains("Candidate:") && !line.contains("(none)")))
}

/// What a person can type when this process may not.
pub fn by_hand(packages: &[&str]) -> String {
    format!("apt-get update && apt-get install -y --no-install-recommends {}", packages.join(" "))
}

fn root_command() -> Result<Command> {
    let mut command = as_root("env").context("neither root nor sudo")?;
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "DPkg::Lock::Timeout=300"]);
    Ok(command)
}

/// Some packages start a server when they are installed. We want the program only.
struct NoNewServices;

const POLICY: &str = "/usr/sbin/policy-rc.d";

impl NoNewServices {
    fn start() -> Option<Self> {
        // The administrator's own policy stands; without root this is best effort.
        if Path::new(POLICY).exists() || fs::write(POLICY, "#!/bin/sh\nexit 101\n").is_err() {
            return None;
        }
        let guard = Self;
        fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755)).ok()?;
        Some(guard)
    }
}

impl Drop for NoNewServices {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(POLICY) {
            say(format!("{POLICY} must be removed by hand: {error}"));
        }
    }
}

/// An apt of our own beside the machine's: other sources, other lists, nothing installed.
pub struct Private<'a> {
    folder: &'a Path,
}

impl<'a> Private<'a> {
    /// `sources` are lines of a sources.list.
    pub fn new(folder: &'a Path, sources: &[String]) -> Result<Self> {
        for part in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(part))?;
        }
        fs::write(folder.join("sources.list"), sources.join("\n") + "\n")?;
        Ok(Self { folder })
    }

    /// A suite that moved away must not hide the others: the caller sees what is offered in the end.
    pub fn update(&self) {
        let mut update = self.command("apt-get");
        if run(update.args(["update", "-q"])).is_err() {
            say(format!("not every source answered: {}", line(&update)));
        }
    }

    /// Names of packages that begin so.
    pub fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let text = output(self.command("apt-cache").args(["pkgnames", prefix]))?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Downloads packages into `folder` and unpacks them into `into`; nothing is installed.
    pub fn unpack(&self, packages: &[String], folder: &Path, into: &Path) -> Result<()> {
        for folder in [folder, into] {
            if folder.exists() {
                fs::remove_dir_all(folder)?; // left by a run that was interrupted
            }
            fs::create_dir_all(folder)?;
        }
        run(self.command("apt-get").current_dir(folder).args(["download", "-q"]).args(packages))?;
        for entry in fs::read_dir(folder)? {
            let file = entry?.path();
            run(Command::new("dpkg-deb").arg("-x").arg(&file).arg(into))?;
            fs::remove_file(file)?;
        }
        Ok(())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let at = |part: &str| self.folder.join(part).display().to_string();
        for option in [
            format!("Dir::Etc::sourcelist={}", at("sources.list")),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            format!("Dir::State::lists={}", at("lists")),
            format!("Dir::Cache={}", at("cache")),
            "Dir::State::status=/dev/null".to_owned(),
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Check-Valid-Until=false".to_owned(), // the oldest suites are not signed anew
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
        ] {
            command.args(["-o", &option]);
        }
        command
    }
}
