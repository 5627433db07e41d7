//! What a finding must say. Only what is named is compared; a mismatch reads like a diff.

use crate::key::FakeKey;
use crate::record::Finding;
use std::fmt::{self, Display};
use std::net::SocketAddr;

/// A finding that must come: the key it is about, and any of its facts.
#[derive(Clone, Debug)]
pub struct Expect {
    key: FakeKey,
    wanted: Vec<(&'static str, String)>,
}

impl Expect {
    /// A finding of this key under its own rule.
    pub fn key(key: &FakeKey) -> Self {
        Self { key: key.clone(), wanted: Vec::new() }.with("rule", key.rule)
    }

    /// Found, and not stopped.
    pub fn observed(key: &FakeKey) -> Self {
        Self::key(key).action("observed")
    }

    pub fn action(self, action: &str) -> Self {
        self.with("action", action)
    }

    /// `tls`, `tcp` or `udp`.
    pub fn kind(self, kind: &str) -> Self {
        self.with("kind", kind)
    }

    /// The TLS library; implies the channel.
    pub fn library(self, library: &str) -> Self {
        self.kind("tls").with("library", library)
    }

    pub fn protocol(self, protocol: &str) -> Self {
        self.with("protocol", protocol)
    }

    pub fn location(self, location: &str) -> Self {
        self.with("location", location)
    }

    pub fn pid(self, pid: u32) -> Self {
        self.with("pid", pid)
    }

    pub fn comm(self, comm: &str) -> Self {
        self.with("comm", comm)
    }

    /// Address and port the bytes went to.
    pub fn to(self, address: SocketAddr) -> Self {
        self.with("ip", address.ip()).with("port", address.port())
    }

    /// Nobody said a name; one that is an address says no more than the address.
    pub fn only_address(self) -> Self {
        self.host("-", "address")
    }

    /// The destination's name and what it rests on: `sni` or `http-host`.
    pub fn host(self, host: impl Display, source: &str) -> Self {
        self.with("host", host).with("host_source", source)
    }

    fn with(mut self, fact: &'static str, value: impl Display) -> Self {
        self.wanted.retain(|(known, _)| *known != fact);
        self.wanted.push((fact, value.to_string()));
        self
    }

    pub fn is_about(&self, finding: &Finding) -> bool {
        finding.secret.fingerprint == self.key.fingerprint()
    }

    /// What differs between this and a finding of the same key: fact, wanted, came.
    pub fn differences(&self, finding: &Finding) -> Vec<(&'static str, String, String)> {
        let facts = finding.facts();
        let came = |name: &str| facts.iter().find(|fact| fact.0 == name).map(|fact| fact.1.clone());
        self.wanted
            .iter()
            .map(|(name, wanted)| (*name, wanted.clone(), came(name).unwrap_or_default()))
            .filter(|(_, wanted, came)| wanted != came)
            .collect()
    }

    /// Why none of `findings` is the expected one.
    pub fn explain<'a>(&self, findings: impl Iterator<Item = &'a Finding>) -> String {
        let mut text = format!("no finding as expected for {:?}: {self}\n", self.key);
        let mut others = 0;
        for finding in findings {
            if !self.is_about(finding) {
                others += 1;
                continue;
            }
            text.push_str("  came instead, for the same key:\n");
            for (fact, wanted, came) in self.differences(finding) {
                text.push_str(&format!("    {fact:<12} wanted {wanted}\n    {:<12} came   {came}\n", ""));
            }
        }
        text.push_str(&format!("  {others} findings of other keys came\n"));
        text
    }
}

impl Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (fact, wanted) in &self.wanted {
            write!(f, "{fact}={wanted} ")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::finding;

    #[test]
    fn only_what_is_named_is_compared() {
        let key = FakeKey::anthropic();
        let wanted = Expect::observed(&key).library("openssl").location("body");
        assert!(wanted.is_about(&finding(&key)));
        assert!(wanted.differences(&finding(&key)).is_empty());
        assert!(!wanted.is_about(&finding(&FakeKey::anthropic())));
    }

    #[test]
    fn a_mismatch_reads_like_a_diff() {
        let key = FakeKey::anthropic();
        let wanted =
            Expect::observed(&key).location("header:x-api-key").host("a.test", "sni").host("b.test", "sni");
        let differences = wanted.differences(&finding(&key));
        let location = ("location", "header:x-api-key".to_owned(), "body".to_owned());
        assert_eq!(differences.first(), Some(&location));
        assert_eq!(differences.len(), 3, "{differences:?}");
        let text = wanted.explain([finding(&key), finding(&FakeKey::anthropic())].iter());
        assert!(
            text.contains("location     wanted header:x-api-key\n                 came   body\n"),
            "{text}"
        );
        assert!(text.contains("1 findings of other keys") && !text.contains(key.reveal()), "{text}");
    }
}
