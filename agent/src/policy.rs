//! What a secret on its way out means. A pure function of (secret, where in the message, destination).

use crate::record::{Action, ChannelKind, Destination};
use keymoat_detect::{Rule, is_home, is_usual};

/// Everything a verdict rests on.
#[derive(Clone, Copy, Debug)]
pub struct Sighting<'a> {
    pub rule: &'a Rule,
    pub location: &'a str,
    pub channel: ChannelKind,
    pub destination: &'a Destination,
    /// Host the message itself names.
    pub http_host: Option<&'a str>,
}

/// Why a verdict is what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// To its own provider, encrypted, where such a key belongs.
    Usual,
    /// Readable by everyone on the way, whoever it was for.
    InTheClear,
    /// No name is known for the destination.
    UnknownHost,
    NotHome,
    /// The connection is to the provider, the message inside names somebody else.
    HostsDisagree,
    /// To its own provider, but not where such a key belongs.
    UnusualPlace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub action: Action,
    pub reason: Reason,
}

/// Judges a sighting.
///
/// Names are what the sender claims: nobody checks here that the address belongs to them. A program that
/// verifies certificates cannot be wrong about the name it put into the ClientHello, so that name counts; a
/// Host header counts only inside TLS and only where the ClientHello is not known (connections older than the
/// agent), and one that contradicts the ClientHello speaks against it.
pub fn judge(sighting: &Sighting<'_>) -> Verdict {
    let reason = reason(sighting);
    let action = if reason == Reason::Usual { Action::Allowed } else { Action::Observed };
    Verdict { action, reason }
}

fn reason(sighting: &Sighting<'_>) -> Reason {
    let Sighting { rule, location, destination, .. } = *sighting;
    if sighting.channel != ChannelKind::Tls {
        return Reason::InTheClear;
    }
    let Some(host) = destination.host.as_deref() else { return Reason::UnknownHost };
    if !is_home(rule, host) {
        return Reason::NotHome;
    }
    if sighting.http_host.is_some_and(|claimed| !is_home(rule, claimed)) {
        return Reason::HostsDisagree;
    }
    if is_usual(rule, location) { Reason::Usual } else { Reason::UnusualPlace }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keymoat_detect::RuleSet;

    const HOME: &str = "api.anthropic.com";
    const KEY: &str = "header:x-api-key";

    fn verdict(channel: ChannelKind, host: Option<&str>, http_host: Option<&str>, location: &str) -> Verdict {
        let rules = RuleSet::builtin().unwrap();
        let mut rules = rules.rules().iter();
        let rule = rules.find(|rule| is_home(rule, HOME) && is_usual(rule, KEY)).unwrap();
        let destination = Destination { host: host.map(str::to_owned), ..Destination::default() };
        judge(&Sighting { rule, location, channel, destination: &destination, http_host })
    }

    #[test]
    fn only_the_usual_way_home_is_allowed() {
        use ChannelKind::{Tcp, Tls, Udp};
        let table = [
            (Tls, Some(HOME), None, KEY, Reason::Usual),
            (Tls, Some(HOME), Some(HOME), "header:X-Api-Key", Reason::Usual),
            (Tls, Some(HOME), Some(HOME), "body", Reason::UnusualPlace),
            (Tls, Some(HOME), None, "stream", Reason::UnusualPlace),
            (Tls, Some(HOME), Some("collect.example.test"), KEY, Reason::HostsDisagree),
            (Tls, Some("collect.example.test"), Some(HOME), KEY, Reason::NotHome),
            (Tls, None, None, KEY, Reason::UnknownHost),
            (Tcp, Some(HOME), Some(HOME), KEY, Reason::InTheClear),
            (Udp, None, None, "datagram", Reason::InTheClear),
        ];
        for (channel, host, http_host, location, reason) in table {
            let verdict = verdict(channel, host, http_host, location);
            let action = if reason == Reason::Usual { Action::Allowed } else { Action::Observed };
            assert_eq!(verdict, Verdict { action, reason }, "{channel:?} {host:?} {http_host:?} {location}");
        }
    }
}
