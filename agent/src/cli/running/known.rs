//! What is looked for, and what it means: read from what the configuration names.

use crate::config::{Config, policy, rules};
use keymoat_detect::Detector;
use keymoat_detect::policy::Policy;
use std::sync::Arc;

/// What is looked for, and what it means.
pub struct Known {
    pub(super) detector: Arc<Detector>,
    pub(super) policy: Policy,
}

impl Known {
    /// Reads it.
    ///
    /// # Errors
    /// When a file cannot be read or understood; the error names it.
    pub fn read(config: &Config) -> anyhow::Result<Self> {
        let rules = Arc::new(rules::load(config)?);
        let policy = policy::load(config.policy.as_deref(), &rules)?;
        for (entry, end) in policy.expired(jiff::Timestamp::now()) {
            tracing::warn!(
                "the entry `{entry}` of the policy expired at {end}: remove it, or give it another end"
            );
        }
        for problem in rules.unsupported() {
            tracing::warn!("{problem}");
        }
        Ok(Self { detector: Arc::new(rules::detector(config, rules)?), policy })
    }
}
