//! A finding in plain words.

use crate::record::{Action, Destination};
use keymoat_detect::policy::{Category, Reason, Verdict};
use keymoat_detect::{Rule, location};

/// What happened, for somebody who has never heard of the rule.
pub struct Story<'a> {
    pub rule: &'a Rule,
    pub action: Action,
    /// Its process was killed for it.
    pub killed: bool,
    pub verdict: Verdict<'a>,
    pub location: &'a str,
    pub comm: &'a str,
    pub pid: u32,
    pub destination: &'a Destination,
}

impl Story<'_> {
    pub fn tell(&self) -> String {
        let Self { rule, pid, verdict, .. } = self;
        let (article, name) = (article(&rule.name), &rule.name);
        let comm: String = self.comm.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        let comm = if comm.is_empty() { "unknown program" } else { &comm };
        let (place, to) = (place(self.location), target(self.destination));
        let what = match self.action {
            Action::Blocked => "was stopped before it left this machine:",
            Action::Observed | Action::Allowed | Action::Late => "left this machine",
        };
        let mut text = format!("{article} {name} {what} {place} to {to} ({comm}, pid {pid}).");
        let fine = self.action == Action::Allowed || self.is_in_its_place();
        let category = meaning(verdict.reason, verdict.category);
        let late = (self.action == Action::Late).then_some("It was found only when it had left.");
        let killed = self.killed.then_some("The process was killed for it (`--enforcement signal`).");
        let why = if self.is_in_its_place() { IN_ITS_PLACE } else { why(verdict.reason) };
        let parts = [killed, late, Some(why), category.filter(|_| !fine)];
        let explanation = (!fine && !rule.explanation.is_empty()).then_some(rule.explanation.as_str());
        for part in parts.into_iter().chain([explanation]).flatten() {
            text.push(' ');
            text.push_str(part);
        }
        if self.action == Action::Blocked {
            text.push_str(&self.way_out());
        }
        if let Some(entry) = verdict.by {
            let does = match self.action {
                Action::Allowed => "allows",
                Action::Blocked => "blocks",
                Action::Observed | Action::Late => "reports",
            };
            text.push_str(&format!(" The entry `{entry}` of the policy {does} this."));
        }
        text
    }
}

impl Story<'_> {
    /// Is it stopped only because it is in a write with something else that was refused? Nothing is wrong with this key.
    pub fn is_in_its_place(&self) -> bool {
        self.action == Action::Blocked && self.verdict.reason == Reason::Usual && self.verdict.by.is_none()
    }

    /// The command that lets it pass. A host counts only where TLS says it.
    fn way_out(&self) -> String {
        let named = self.destination.host_source.as_deref() == Some("sni");
        let to = match self.destination.host.as_deref().filter(|_| named) {
            Some(host) => format!(" --to {host}"),
            None => String::new(),
        };
        format!(
            " If it is meant to go there: `sudo keymoat allow {}{to} --for 1h` lets it pass for an hour, with `--once` one time.",
            self.rule.id
        )
    }
}

const IN_ITS_PLACE: &str = "It is where such a key belongs: it was part of a write that was refused as a whole, for what else is in it.";

pub fn why(reason: Reason) -> &'static str {
    match reason {
        Reason::Usual => "This is how it is meant to be used: in its usual place, to its own provider.",
        Reason::InTheClear => "It was not encrypted: everyone on the way could read it.",
        Reason::UnknownHost => "The destination's name is not known, so it does not count as the provider.",
        Reason::NotHome => "The destination is not the key's provider.",
        Reason::HostsDisagree => {
            "The connection is to the key's provider, but the request inside asks for another host."
        }
        Reason::UnusualPlace => {
            "The destination is the key's provider, but this is not where such a key belongs: \
             it may be stored or shown to others there."
        }
    }
}

/// What the kind of place it went to means for a key that should not be there.
pub fn meaning(reason: Reason, category: &Category) -> Option<&str> {
    (reason != Reason::Usual && !category.why.is_empty()).then_some(category.why.as_str())
}

fn article(name: &str) -> &'static str {
    let vowel = name.starts_with(|c: char| "AEIOUaeiou".contains(c));
    // Names said letter by letter: "an X…" key. "A U…" has no such rule.
    if vowel && !name.starts_with("Un") || name.starts_with("xAI") { "An" } else { "A" }
}

/// A location as part of a sentence.
pub fn place(location: &str) -> String {
    let mut steps = location::steps(location);
    let outside = outermost(steps.next().unwrap_or_default());
    let inside: Vec<String> = steps.map(inner).collect();
    if inside.is_empty() { outside } else { format!("{outside} ({})", inside.join(", ")) }
}

/// The place of a message.
fn outermost(place: &str) -> String {
    match place.split_once(':') {
        Some(("header", name)) => format!("in the `{name}` header of a request"),
        Some(("query", name)) => format!("in the `{name}` parameter of a web address"),
        Some(("response-header", name)) => format!("in the `{name}` header of a response"),
        _ => match place {
            "header" => "in a header of a request",
            "query" => "in the query of a web address",
            "path" => "in the path of a web address",
            "body" => "in the request body",
            "message" => "in a message",
            "response-body" => "in a response body",
            "response-header" | "status-line" => "in the head of a response",
            "datagram" => "in a datagram",
            "file" => "in a file",
            _ => "on a connection",
        }
        .to_owned(),
    }
}

/// What leads into a place.
fn inner(step: &str) -> String {
    match step.split_once(':') {
        Some(("part", name)) => format!("part `{name}`"),
        Some((_, name)) => format!("field `{name}`"),
        None if step == "percent" => "percent-encoded".to_owned(),
        None => step.to_owned(),
    }
}

fn target(destination: &Destination) -> String {
    match (&destination.host, destination.ip, destination.port) {
        (Some(host), _, _) => host.clone(),
        (None, Some(ip), Some(port)) => std::net::SocketAddr::new(ip, port).to_string(),
        (None, Some(ip), None) => ip.to_string(),
        (None, None, _) => "an unknown destination".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keymoat_detect::policy::{self, Destinations};
    use keymoat_detect::{RuleSet, Severity};

    fn tell(action: Action, reason: Reason, location: &str, host: Option<&str>, by: Option<&str>) -> String {
        let rules = RuleSet::builtin().unwrap();
        let rule = rules.rules().iter().find(|rule| rule.vendor == "Anthropic").unwrap();
        let known = Destinations::builtin().unwrap();
        let category = known.category(host);
        let verdict =
            Verdict { action: policy::Action::Observe, reason, category, severity: Severity::High, by };
        let destination = Destination {
            host: host.map(str::to_owned),
            ip: Some("192.0.2.7".parse().unwrap()),
            port: Some(443),
            ..Destination::default()
        };
        let killed = false;
        Story { rule, action, killed, verdict, location, comm: "curl", pid: 123, destination: &destination }
            .tell()
    }

    #[test]
    fn a_leak_says_what_left_where_to_and_why_it_matters() {
        let text = tell(Action::Observed, Reason::NotHome, "body", Some("collect.example.test"), None);
        assert!(text.starts_with("An Anthropic "), "{text}");
        let middle = "left this machine in the request body to collect.example.test (curl, pid 123). \
                      The destination is not the key's provider. ";
        assert!(text.contains(middle), "{text}");
        assert!(!text.contains("policy"), "{text}");
    }

    #[test]
    fn normal_use_raises_no_alarm() {
        let text = tell(Action::Allowed, Reason::Usual, "header:x-api-key", None, None);
        let end = "in the `x-api-key` header of a request to 192.0.2.7:443 (curl, pid 123). \
                   This is how it is meant to be used: in its usual place, to its own provider.";
        assert!(text.ends_with(end), "{text}");
        let home = tell(Action::Allowed, Reason::Usual, "header:x-api-key", Some("api.anthropic.com"), None);
        assert!(!home.contains("language model"), "{home}");
    }

    #[test]
    fn a_key_beside_one_that_was_refused_is_none_to_revoke() {
        let text = tell(Action::Blocked, Reason::Usual, "header:x-api-key", Some("api.anthropic.com"), None);
        assert!(text.contains("It is where such a key belongs: "), "{text}");
        assert!(!text.contains("on your account") && text.contains("keymoat allow"), "{text}");
        let refused_by_policy =
            tell(Action::Blocked, Reason::Usual, "header:x-api-key", Some("api.anthropic.com"), Some("none"));
        assert!(refused_by_policy.contains("on your account"), "{refused_by_policy}");
    }

    #[test]
    fn the_kind_of_place_is_said() {
        let paste = tell(Action::Observed, Reason::NotHome, "body", Some("pastebin.com"), None);
        assert!(paste.contains("not the key's provider. It is a site for pasting text: "), "{paste}");
        let prompt = tell(Action::Observed, Reason::UnusualPlace, "body", Some("api.anthropic.com"), None);
        assert!(prompt.contains("It is a language model's provider: "), "{prompt}");
    }

    #[test]
    fn the_policys_word_is_said_to_be_the_policys() {
        let allowed = tell(Action::Allowed, Reason::NotHome, "body", Some("pastebin.com"), Some("backup"));
        let end = "The destination is not the key's provider. The entry `backup` of the policy allows this.";
        assert!(allowed.ends_with(end), "{allowed}");
        let reported = tell(Action::Observed, Reason::Usual, "path", None, Some("all"));
        assert!(reported.ends_with("The entry `all` of the policy reports this."), "{reported}");
    }

    #[test]
    fn a_path_is_told_from_the_outside_in() {
        for (location, told) in [
            ("body", "in the request body"),
            (
                "body > gzip > json:env.OPENAI_API_KEY > base64",
                "in the request body (gzip, field `env.OPENAI_API_KEY`, base64)",
            ),
            ("body > part:file", "in the request body (part `file`)"),
            ("body > json:a:b", "in the request body (field `a:b`)"),
            ("message > json:messages[0].content", "in a message (field `messages[0].content`)"),
            ("header:authorization > base64", "in the `authorization` header of a request (base64)"),
            ("query:key > percent", "in the `key` parameter of a web address (percent-encoded)"),
            ("query", "in the query of a web address"),
            ("stream > gzip", "on a connection (gzip)"),
            ("", "on a connection"),
        ] {
            assert_eq!(place(location), told);
        }
    }
}
