//! Records as a person wants to read them on a terminal: what, how bad, whose, where to, why, what now.

use crate::health::Cause;
use crate::record::{
    Action, Channel, ChannelKind, Destination, Finding, Health, Line, Loss, Process, Ready, Record, Refusal,
    Repeat, UnseenTls,
};
use crate::terminal::{Style, escape, paint, shell_word, wrap};
use std::fmt::Write;

/// Text is wrapped to this width; values stay whole, so that they can be copied.
const WIDTH: usize = 100;
const LABEL: usize = 10;
/// A command line longer than this is cut; JSONL has all of it.
const COMMAND: usize = 300;
/// Enough of a fingerprint to recognise it again.
const FINGERPRINT: usize = 12;

/// None: nothing a person needs to read.
pub fn render(line: &Line, color: bool) -> Option<String> {
    let out = Out { text: String::new(), color };
    match &line.record {
        Record::Ready(ready) => Some(out.ready(ready)),
        Record::Finding(finding) if finding.action == Action::Allowed => Some(out.allowed(line, finding)),
        Record::Finding(finding) => Some(out.finding(line, finding)),
        Record::Repeat(repeat) => Some(out.repeat(repeat)),
        Record::Loss(loss) if loss.counters.is_empty() => None,
        Record::Loss(loss) => Some(out.loss(loss)),
        Record::UnseenTls(unseen) => Some(out.unseen(unseen)),
        Record::Refusal(refusal) => Some(out.refusal(refusal)),
        Record::Health(health) if health.status == "ok" => None,
        Record::Health(health) => Some(out.health(health)),
    }
}

/// The same of what was seen only, and not of how the agent fares: for who runs one command.
pub fn render_sightings(line: &Line, color: bool) -> Option<String> {
    match &line.record {
        Record::Ready(_) | Record::Health(_) => None,
        // Commands that end before all that they mapped was looked at are nothing out of the way.
        Record::Loss(loss) if loss.counters.keys().all(|cause| cause == Cause::LibraryGone.label()) => None,
        _ => render(line, color),
    }
}

struct Out {
    text: String,
    color: bool,
}

impl Out {
    fn finding(mut self, line: &Line, finding: &Finding) -> String {
        let severity = finding.rule.severity.to_uppercase();
        let style = severity_style(&finding.rule.severity);
        self.put(&format!(" {} ", escape(&severity)), style);
        self.plain(" ");
        self.put(&format!("{} {}", escape(&finding.rule.name), happened(finding.action)), Style::Bold);
        self.put(&format!("  {} on {}", line.time.strftime("%F %T UTC"), escape(&line.host)), Style::Dim);
        self.plain("\n");

        let secret = &finding.secret;
        let fingerprint = secret.fingerprint.get(..FINGERPRINT).unwrap_or(&secret.fingerprint);
        self.field("key", &format!("{}  fingerprint {}", escape(&secret.redacted), escape(fingerprint)));
        let confidence = finding.confidence.as_deref().map(|sure| format!("  {} confidence", escape(sure)));
        self.field("rule", &format!("{}{}", escape(&finding.rule.id), confidence.unwrap_or_default()));
        for (name, value) in &finding.facts {
            self.field("says", &format!("{} {}", escape(name), escape(value)));
        }
        self.field("to", &destination(&finding.destination));
        self.field("where", &channel(&finding.channel));
        self.process(&finding.process);
        if let Some(entry) = &finding.policy {
            self.field("policy", &escape(entry));
        }
        if let Some(method) = &finding.enforcement {
            self.field("by", &escape(method));
        }
        self.prose("why", &finding.explanation);
        self.prose("now", &finding.remediation);
        self.text
    }

    fn process(&mut self, process: &Process) {
        let exe = process.exe.as_deref().map(|exe| format!("  {}", escape(exe))).unwrap_or_default();
        let user = process.uid.map(|uid| format!(", uid {uid}")).unwrap_or_default();
        self.field("process", &format!("{} (pid {}{user}){exe}", escape(&process.comm), process.pid));
        if !process.cmdline.is_empty() {
            self.field("command", &command(&process.cmdline));
        }
        let container = process.container.as_ref().map(|id| format!("container {}", escape(id)));
        let unit = process.unit.as_ref().map(|unit| format!("unit {}", escape(unit)));
        let within: Vec<String> = container.into_iter().chain(unit).collect();
        if !within.is_empty() {
            self.field("in", &within.join(", "));
        }
        if !process.ancestors.is_empty() {
            let parents: Vec<String> =
                process.ancestors.iter().map(|a| format!("{} ({})", escape(&a.comm), a.pid)).collect();
            self.field("parents", &parents.join(" < "));
        }
    }

    fn allowed(mut self, line: &Line, finding: &Finding) -> String {
        let text = format!(
            "{} allowed: {} {} in {} to {} by {} ({})",
            line.time.strftime("%T"),
            escape(&finding.rule.name),
            escape(&finding.secret.redacted),
            escape(&finding.channel.location),
            destination(&finding.destination),
            escape(&finding.process.comm),
            finding.process.pid,
        );
        self.put(&text, Style::Dim);
        self.end()
    }

    fn ready(mut self, ready: &Ready) -> String {
        self.put("ready", Style::Green);
        let enforcement = ready.enforcement.as_deref().map(|method| format!(" with {}", escape(method)));
        let hooks: Vec<_> = ready.hooks.iter().map(|hook| escape(hook)).collect();
        self.plain(&format!(
            "  keymoat {} in {} mode{}, {} rules, kernel {}\n",
            escape(ready.version),
            escape(&ready.mode),
            enforcement.unwrap_or_default(),
            ready.rules,
            escape(&ready.kernel),
        ));
        self.prose("hooks", &hooks.join(", "));
        self.text
    }

    fn repeat(mut self, repeat: &Repeat) -> String {
        let text =
            format!("again: finding {} was repeated {} times", escape(&repeat.finding), repeat.repeats);
        self.put(&text, Style::Dim);
        self.end()
    }

    fn loss(mut self, loss: &Loss) -> String {
        self.put("loss", Style::Yellow);
        let counters: Vec<String> =
            loss.counters.iter().map(|(cause, n)| format!("{} {n}", escape(cause))).collect();
        self.plain(&format!("  not everything was seen or delivered; totals: {}", counters.join(", ")));
        self.end()
    }

    fn unseen(mut self, unseen: &UnseenTls) -> String {
        self.put("unseen TLS", Style::Yellow);
        let process = &unseen.process;
        let name = process.exe.as_deref().unwrap_or(&process.comm);
        self.plain(&format!(
            "  {} (pid {}) to {}: {}",
            escape(name),
            process.pid,
            destination(&unseen.destination),
            escape(&unseen.reason)
        ));
        self.end()
    }

    fn refusal(mut self, refusal: &Refusal) -> String {
        self.put("refused", Style::Red);
        let process = &refusal.process;
        let name = process.exe.as_deref().unwrap_or(&process.comm);
        self.plain(&format!(
            "  {} (pid {}) to {}: {}",
            escape(name),
            process.pid,
            destination(&refusal.destination),
            refusal.explanation
        ));
        self.end()
    }

    fn health(mut self, health: &Health) -> String {
        let style = if health.status == "broken" { Style::Red } else { Style::Yellow };
        self.put(&escape(&health.status), style);
        self.plain(&format!("  {}: {}", escape(&health.component), escape(&health.message)));
        self.end()
    }

    fn put(&mut self, text: &str, style: Style) {
        self.text.push_str(&paint(text, style, self.color));
    }

    fn plain(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn end(mut self) -> String {
        self.plain("\n");
        self.text
    }

    /// `value` is escaped already.
    fn field(&mut self, label: &str, value: &str) {
        self.put(&format!("  {label:<LABEL$}"), Style::Dim);
        self.plain(value);
        self.plain("\n");
    }

    fn prose(&mut self, label: &str, text: &str) {
        for (n, line) in wrap(text, WIDTH - LABEL - 2).iter().enumerate() {
            self.field(if n == 0 { label } else { "" }, line);
        }
    }
}

fn happened(action: Action) -> &'static str {
    match action {
        Action::Observed => "left this machine",
        Action::Allowed => "went to its provider",
        Action::Blocked => "was stopped before it left",
        Action::Late => "left before it could be stopped",
    }
}

fn severity_style(severity: &str) -> Style {
    match severity {
        "critical" => Style::Alarm,
        "high" => Style::Red,
        "medium" => Style::Yellow,
        _ => Style::Bold,
    }
}

fn destination(to: &Destination) -> String {
    let address = match (to.ip, to.port) {
        (Some(ip), Some(port)) => std::net::SocketAddr::new(ip, port).to_string(),
        (Some(ip), None) => ip.to_string(),
        (None, Some(port)) => format!("port {port}"),
        (None, None) => "an unknown address".to_owned(),
    };
    let kind = to.category.as_deref().filter(|category| *category != "unknown");
    let kind = kind.map(|category| format!("{}, ", escape(category))).unwrap_or_default();
    match (&to.host, to.host_source.as_deref()) {
        (Some(host), Some(source)) if source != "address" => {
            format!("{} ({kind}{address}, name from {})", escape(host), escape(source))
        }
        (Some(host), None) => format!("{} ({kind}{address})", escape(host)),
        _ => address,
    }
}

fn channel(channel: &Channel) -> String {
    let kind = match channel.kind {
        ChannelKind::Tls => "TLS",
        ChannelKind::Tcp => "plain TCP",
        ChannelKind::Udp => "UDP",
    };
    let mut text = format!("{} over {kind}", escape(&channel.location));
    // Writing to a string cannot fail.
    let _ = match (&channel.protocol, &channel.library) {
        (Some(protocol), Some(library)) => write!(text, " ({}, {})", escape(protocol), escape(library)),
        (Some(one), None) | (None, Some(one)) => write!(text, " ({})", escape(one)),
        (None, None) => Ok(()),
    };
    text
}

fn command(arguments: &[String]) -> String {
    let mut text = arguments.iter().map(|a| shell_word(a)).collect::<Vec<_>>().join(" ");
    if let Some((cut, _)) = text.char_indices().nth(COMMAND) {
        text.truncate(cut);
        text.push('…');
    }
    text
}

#[cfg(test)]
#[path = "human_tests.rs"]
mod tests;
