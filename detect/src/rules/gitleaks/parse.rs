//! The file as gitleaks 8 defines it (`config/config.go` of github.com/gitleaks/gitleaks). A field that is not
//! listed here is an error: gitleaks passes over it in silence, and a misspelt allowlist allows nothing.
//!
//! gitleaks does not care about capitals in names; the spellings in use are accepted.

use serde::Deserialize;
use serde::de::IgnoredAny;
use toml::Spanned;

pub(super) type Text = Spanned<String>;
pub(super) type List = Spanned<Vec<Text>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    dead_code,
    reason = "words for people and for gitleaks itself: read so that they are known, not used"
)]
pub(super) struct File {
    title: Option<String>,
    description: Option<String>,
    #[serde(rename = "minVersion", alias = "minversion")]
    min_version: Option<String>,
    pub(super) extend: Option<Extend>,
    #[serde(default)]
    pub(super) rules: Vec<Spanned<Entry>>,
    #[serde(alias = "allowList")]
    pub(super) allowlist: Option<Spanned<Allow>>,
    #[serde(default, alias = "allowLists")]
    pub(super) allowlists: Vec<Spanned<Allow>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Extend {
    #[serde(rename = "useDefault", alias = "usedefault")]
    pub(super) use_default: Option<Spanned<bool>>,
    pub(super) path: Option<Text>,
    pub(super) url: Option<Text>,
    #[serde(rename = "disabledRules", alias = "disabledrules")]
    pub(super) disabled_rules: Option<List>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "`tags` are for gitleaks' reports")]
pub(super) struct Entry {
    pub(super) id: Text,
    #[serde(default)]
    pub(super) description: String,
    pub(super) regex: Option<Text>,
    pub(super) path: Option<Text>,
    #[serde(default)]
    pub(super) entropy: f64,
    #[serde(rename = "secretGroup", alias = "secretgroup")]
    pub(super) secret_group: Option<Spanned<usize>>,
    pub(super) keywords: Option<List>,
    tags: Option<Vec<String>>,
    #[serde(alias = "allowList")]
    pub(super) allowlist: Option<Spanned<Allow>>,
    #[serde(default, alias = "allowLists")]
    pub(super) allowlists: Vec<Spanned<Allow>>,
    pub(super) required: Option<Spanned<Vec<IgnoredAny>>>,
    #[serde(rename = "skipReport", alias = "skipreport")]
    pub(super) skip_report: Option<Spanned<bool>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "`description` is for people")]
pub(super) struct Allow {
    description: Option<String>,
    pub(super) condition: Option<Text>,
    pub(super) commits: Option<List>,
    pub(super) paths: Option<List>,
    #[serde(rename = "regexTarget", alias = "regextarget")]
    pub(super) regex_target: Option<Text>,
    pub(super) regexes: Option<List>,
    #[serde(alias = "stopWords")]
    pub(super) stopwords: Option<List>,
    #[serde(rename = "targetRules", alias = "targetrules")]
    pub(super) target_rules: Option<List>,
}
