//! A finding in plain words.

use crate::policy::Reason;
use crate::record::{Action, Destination};
use keymoat_detect::Rule;

/// What happened, for somebody who has never heard of the rule.
pub struct Story<'a> {
    pub rule: &'a Rule,
    pub action: Action,
    pub reason: Reason,
    pub location: &'a str,
    pub comm: &'a str,
    pub pid: u32,
    pub destination: &'a Destination,
}

impl Story<'_> {
    pub fn tell(&self) -> String {
        let Self { rule, pid, .. } = self;
        let (article, name) = (article(&rule.name), &rule.name);
        let comm: String = self.comm.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        let comm = if comm.is_empty() { "unknown program" } else { &comm };
        let (place, to) = (place(self.location), target(self.destination));
        let why = self.why();
        let mut text =
            format!("{article} {name} left this machine {place} to {to} ({comm}, pid {pid}). {why}");
        if self.action != Action::Allowed && !rule.explanation.is_empty() {
            text.push(' ');
            text.push_str(&rule.explanation);
        }
        text
    }

    fn why(&self) -> &'static str {
        match self.reason {
            Reason::Usual => "This is how it is meant to be used: in its usual place, to its own provider.",
            Reason::InTheClear => "It was not encrypted: everyone on the way could read it.",
            Reason::UnknownHost => {
                "The destination's name is not known, so it does not count as the provider."
            }
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
}

fn article(name: &str) -> &'static str {
    let vowel = name.starts_with(|c: char| "AEIOUaeiou".contains(c));
    // Names said letter by letter: "an X…" key. "A U…" has no such rule.
    if vowel && !name.starts_with("Un") || name.starts_with("xAI") { "An" } else { "A" }
}

/// A location as part of a sentence.
fn place(location: &str) -> String {
    match location.split_once(':') {
        Some(("header", name)) => format!("in the `{name}` header of a request"),
        Some(("query", name)) => format!("in the `{name}` parameter of a web address"),
        Some(("response-header", name)) => format!("in the `{name}` header of a response"),
        _ => match location {
            "header" => "in a header of a request".to_owned(),
            "query" => "in the query of a web address".to_owned(),
            "path" => "in the path of a web address".to_owned(),
            "body" => "in the request body".to_owned(),
            "response-body" => "in a response body".to_owned(),
            "response-header" | "status-line" => "in the head of a response".to_owned(),
            "datagram" => "in a datagram".to_owned(),
            _ => "on a connection".to_owned(),
        },
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
    use keymoat_detect::RuleSet;

    fn tell(action: Action, reason: Reason, location: &str, host: Option<&str>) -> String {
        let rules = RuleSet::builtin().unwrap();
        let rule = rules.rules().iter().find(|rule| rule.vendor == "Anthropic").unwrap();
        let destination = Destination {
            host: host.map(str::to_owned),
            ip: Some("192.0.2.7".parse().unwrap()),
            port: Some(443),
            host_source: None,
        };
        Story { rule, action, reason, location, comm: "curl", pid: 123, destination: &destination }.tell()
    }

    #[test]
    fn a_leak_says_what_left_where_to_and_why_it_matters() {
        let text = tell(Action::Observed, Reason::NotHome, "body", Some("collect.example.test"));
        assert!(text.starts_with("An Anthropic "), "{text}");
        let middle = "left this machine in the request body to collect.example.test (curl, pid 123). \
                      The destination is not the key's provider. ";
        assert!(text.contains(middle), "{text}");
    }

    #[test]
    fn normal_use_raises_no_alarm() {
        let text = tell(Action::Allowed, Reason::Usual, "header:x-api-key", None);
        let end = "in the `x-api-key` header of a request to 192.0.2.7:443 (curl, pid 123). \
                   This is how it is meant to be used: in its usual place, to its own provider.";
        assert!(text.ends_with(end), "{text}");
    }
}
