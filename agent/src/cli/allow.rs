//! `keymoat allow`: lets keys of one rule pass for a while.

use super::{Exit, complain};
use crate::config::{Config, rules};
use crate::enforce::exceptions::{Exception, Exceptions};
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use std::path::PathBuf;

#[derive(Clone, Debug, Args)]
pub struct AllowArgs {
    /// Whose keys may leave: the rule's id, as findings name it
    #[arg(required_unless_present_any = ["list", "remove"])]
    rule: Option<String>,
    /// Only to this host, over TLS [default: anywhere]
    #[arg(long, value_name = "HOST", requires = "rule")]
    to: Option<String>,
    /// For how long, e.g. 30m, 8h
    #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = duration)]
    time: SignedDuration,
    /// Until the first one has passed, or the time is over
    #[arg(long, requires = "rule")]
    once: bool,
    /// Show what is allowed
    #[arg(long, conflicts_with_all = ["rule", "remove"])]
    list: bool,
    /// Take back what is listed under this name
    #[arg(long, value_name = "NAME", conflicts_with = "rule")]
    remove: Option<String>,
    /// The agent's configuration file [default: /etc/keymoat/agent.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

fn duration(text: &str) -> Result<SignedDuration, String> {
    match text.parse::<SignedDuration>() {
        Ok(time) if time.is_positive() => Ok(time),
        Ok(_) => Err("the time has to be longer than nothing".to_owned()),
        Err(_) => Err("write it as 30m or 8h".to_owned()),
    }
}

pub fn run(args: &AllowArgs) -> Exit {
    match allow(args) {
        Ok(said) => {
            print!("{said}");
            Exit::Clean
        }
        Err(error) => {
            complain(&format!("{error:#}"));
            Exit::Error
        }
    }
}

fn allow(args: &AllowArgs) -> anyhow::Result<String> {
    let config = Config::load(args.config.as_deref())?;
    let path = &config.exceptions_file;
    let now = Timestamp::now();
    let mut exceptions = Exceptions::read(path)?;
    exceptions.forget_expired(now);
    if args.list {
        return Ok(list(&exceptions));
    }
    if let Some(name) = &args.remove {
        let before = exceptions.entries.len();
        exceptions.entries.retain(|entry| entry.name != *name);
        if exceptions.entries.len() == before {
            anyhow::bail!(
                "nothing is allowed under the name `{name}`; `keymoat allow --list` shows the names"
            );
        }
        exceptions.write(path)?;
        return Ok(format!("{name} is not allowed any more\n"));
    }
    let rule = args.rule.as_deref().unwrap_or_default();
    let said = line(&exceptions.allow(rule, args.to.as_deref(), now.checked_add(args.time)?, args.once));
    exceptions.policy(&rules::load(&config)?)?;
    exceptions.write(path)?;
    Ok(said)
}

fn list(exceptions: &Exceptions) -> String {
    if exceptions.entries.is_empty() {
        return "nothing is allowed beyond the policy\n".to_owned();
    }
    exceptions.entries.iter().map(line).collect()
}

fn line(entry: &Exception) -> String {
    let to = match &entry.destination {
        Some(hosts) => hosts.hosts.join(", "),
        None => "anywhere".to_owned(),
    };
    format!("{}: {} to {to} until {}\n", entry.name, entry.rule.ids.join(", "), entry.expires)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: AllowArgs,
    }

    /// A folder with a configuration, and what `keymoat allow` says in it.
    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let exceptions = folder.path().join("exceptions.toml");
            std::fs::write(folder.path().join("agent.toml"), format!("exceptions_file = {exceptions:?}\n"))
                .unwrap();
            Self(folder)
        }

        fn say(&self, line: &str) -> anyhow::Result<String> {
            let config = self.0.path().join("agent.toml").display().to_string();
            let words = ["allow".to_owned(), "--config".to_owned(), config].into_iter();
            allow(&Line::try_parse_from(words.chain(line.split(' ').map(str::to_owned)))?.args)
        }
    }

    #[test]
    fn what_is_allowed_is_listed_and_can_be_taken_back() {
        let place = Place::new();
        assert!(place.say("--list").unwrap().starts_with("nothing"));
        let said = place.say("anthropic-api-key --to hook.example.com --for 30m").unwrap();
        assert!(
            said.starts_with("allowed-1-anthropic-api-key: anthropic-api-key to hook.example.com until 2"),
            "{said}"
        );
        place.say("openai-project-key --once").unwrap();
        let listed = place.say("--list").unwrap();
        assert_eq!(listed.lines().count(), 2);
        assert!(
            listed.contains("allowed-1-openai-project-key-once: openai-project-key to anywhere until"),
            "{listed}"
        );
        place.say("--remove allowed-1-anthropic-api-key").unwrap();
        assert_eq!(place.say("--list").unwrap().lines().count(), 1);
    }

    #[test]
    fn what_cannot_be_meant_is_not_written() {
        let place = Place::new();
        for line in [
            "no-such-rule",
            "anthropic-api-key --to *.com",
            "anthropic-api-key --for 0h",
            "anthropic-api-key --for soon",
            "--remove x",
            "--to a.test",
        ] {
            assert!(place.say(line).is_err(), "{line}");
        }
        assert!(!place.0.path().join("exceptions.toml").exists());
    }
}
