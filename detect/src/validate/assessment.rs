//! What came of looking at a match: how sure it is, why, and what the secret says about itself.

/// How sure it is that a finding is a key that somebody made. Ordered: `Low < Medium < High`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// It has the shape, but its checksum is wrong, or it reads like words.
    Low,
    /// The shape is all there is to go by, and it is a common one.
    Medium,
    /// It proves itself, or nothing else looks like it.
    High,
}

impl Confidence {
    pub const fn name(self) -> &'static str {
        match self {
            Confidence::Low => "low",
            Confidence::Medium => "medium",
            Confidence::High => "high",
        }
    }
}

impl std::fmt::Display for Confidence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// How a finding is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assessment {
    pub confidence: Confidence,
    /// What raised or lowered it, for a person; empty if the rule's shape decided.
    pub reasons: Vec<&'static str>,
    /// What the secret says about itself; none of it is secret.
    pub facts: Vec<Fact>,
}

/// Longest value of a fact, in bytes.
const MAX_FACT: usize = 128;

/// Something that can be read off a secret and may be shown: `aws-account`, `iss`, `aud`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    pub name: &'static str,
    /// Printable ASCII, 128 bytes at most. Its text may come from whoever made the secret.
    pub value: String,
}

impl Fact {
    pub(crate) fn new(name: &'static str, value: &str) -> Fact {
        let shown = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
        Fact { name, value: value.chars().take(MAX_FACT).map(shown).collect() }
    }
}

/// Why a match is no finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Suppressed {
    /// What people write where a key would stand: `xxxxxxxx`, `your-api-key-here`.
    Placeholder,
    /// Far more regular than anything made at random.
    LowEntropy,
}

impl Suppressed {
    pub const ALL: [Suppressed; 2] = [Suppressed::Placeholder, Suppressed::LowEntropy];

    pub const fn name(self) -> &'static str {
        match self {
            Suppressed::Placeholder => "placeholder",
            Suppressed::LowEntropy => "low-entropy",
        }
    }
}

impl std::fmt::Display for Suppressed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}
