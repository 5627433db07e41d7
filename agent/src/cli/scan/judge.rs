//! The policy's answer for what was found, were it sent somewhere.

use crate::explain;
use crate::record::Action;
use jiff::Timestamp;
use keymoat_detect::policy::{
    self, Destination, Direction, Policy, Process, Reason, Sighting, Verdict, judge,
};
use keymoat_detect::{Rule, Severity};

/// Where in a message this would be, had it been sent, is not known.
const FILE: &str = "file";

pub struct Judge {
    pub host: String,
    /// Where in a message it would be; none: somewhere in a file.
    pub location: Option<String>,
    pub policy: Policy,
    pub now: Timestamp,
}

/// What becomes of one finding.
pub struct Judgement {
    /// None: the policy says to ignore it.
    pub action: Option<Action>,
    pub severity: Severity,
    pub category: String,
    pub reason: Reason,
    /// The entry of the policy that decided.
    pub entry: Option<String>,
    /// All of it in words.
    pub told: String,
}

impl Judge {
    /// The best case: encrypted, and to the host itself. Who would send it is not known.
    pub fn judge(&self, rule: &Rule) -> Judgement {
        let sighting = Sighting {
            rule,
            location: self.location.as_deref().unwrap_or(FILE),
            encrypted: true,
            destination: Destination { host: Some(&self.host), ip: self.host.parse().ok() },
            claimed_host: None,
            direction: Some(Direction::Outbound),
            process: Process::default(),
            at: self.now,
        };
        let verdict = judge(&sighting, &self.policy);
        Judgement {
            action: Action::while_detecting(verdict.action),
            severity: verdict.severity,
            category: verdict.category.name.clone(),
            reason: verdict.reason,
            entry: verdict.by.map(str::to_owned),
            told: self.tell(rule, &verdict),
        }
    }

    fn tell(&self, rule: &Rule, verdict: &Verdict<'_>) -> String {
        let mut parts = vec![self.reason(rule, verdict.reason)];
        parts.extend(explain::meaning(verdict.reason, verdict.category).map(str::to_owned));
        parts.extend(
            verdict.by.map(|entry| format!("By the policy's entry `{entry}` {}.", word(verdict.action))),
        );
        parts.join(" ")
    }

    fn reason(&self, rule: &Rule, reason: Reason) -> String {
        let host = &self.host;
        let place =
            self.location.as_deref().map_or("in a file that is sent there".to_owned(), explain::place);
        match reason {
            Reason::NotHome if rule.home.is_empty() => {
                format!("No host is known to which this key belongs, {host} neither.")
            }
            Reason::NotHome => format!("{host} is not where this key belongs ({}).", rule.home.join(", ")),
            Reason::UnusualPlace if rule.usual.is_empty() => {
                format!("{host} is where this key belongs, but not {place}.")
            }
            Reason::UnusualPlace => {
                let usual = rule.usual.join(" or ");
                format!("{host} is where this key belongs, but only in {usual}, not {place}.")
            }
            Reason::Usual | Reason::InTheClear | Reason::UnknownHost | Reason::HostsDisagree => {
                explain::why(reason).to_owned()
            }
        }
    }
}

const fn word(action: policy::Action) -> &'static str {
    match action {
        policy::Action::Allow => "it is allowed",
        policy::Action::Observe => "it is reported",
        policy::Action::Block => "it is refused, or reported while the agent only detects",
        policy::Action::Ignore => "it is ignored",
    }
}
