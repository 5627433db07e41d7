//! SIGHUP: rules and policy are read again, and exchanged with no write in between that nobody judges.

use super::{Known, Running, captures_everything};
use crate::config::{Config, ConfigError};
use crate::enforce::judgement::Judgement;
use crate::kernel::numbers::Numbers;
use crate::pipeline::Exchange;
use crate::record::{Health, Record};
use anyhow::Context as _;
use keymoat_detect::policy::Policy;
use keymoat_detect::{Detector, KernelRules};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

/// The thread that reads the ring looks for new rules a few times a second, unless it has more to do than it can.
const PATIENCE: Duration = Duration::from_secs(60);

impl Running {
    /// Reads the configuration's rules, values and policy again. What cannot be used leaves everything as it was. Other settings
    /// take a restart.
    pub fn reload(&mut self, config: Result<Config, ConfigError>) {
        let (status, message) = match self.exchange(config) {
            Ok(rules) => ("ok", format!("{rules} rules and the policy were read again and are in use")),
            Err(error) => ("degraded", format!("the rules and the policy in use stay: {error:#}")),
        };
        tracing::info!("{message}");
        self.outbox.send(Record::Health(Health {
            component: "rules".to_owned(),
            status: status.to_owned(),
            message,
        }));
    }

    fn exchange(&mut self, config: Result<Config, ConfigError>) -> anyhow::Result<usize> {
        let config = config?;
        let Known { detector, policy } = Known::read(&config)?;
        match self.enforcer.is_some() {
            true => self.exchange_judged(&config, &detector, policy)?,
            false => {
                self.exchange_seen(&detector, None)?;
                self.judge.replace(Judgement::detecting(policy));
            }
        }
        Ok(detector.rules().rules().len())
    }

    /// In this order, so that at no moment the kernel refuses or passes what nobody can explain: new rules lie beside the old ones
    /// in the kernel; who looks at what leaves knows them; it is said where their keys may go; and then they judge.
    fn exchange_judged(
        &mut self,
        config: &Config,
        detector: &Arc<Detector>,
        policy: Policy,
    ) -> anyhow::Result<()> {
        let compiled = KernelRules::compile(detector.rules());
        if captures_everything(config.capture, &compiled) && !self.everything {
            anyhow::bail!(
                "there are rules now for which all plaintext has to be captured, or the configuration says so: restart the agent"
            );
        }
        let ids = detector.rules().rules().iter().map(|rule| rule.id.as_str()).collect();
        let added = self.kernel.add_rules(compiled.tables(), ids)?;
        self.exchange_seen(detector, Some(Arc::clone(&added.numbers)))?;
        if let Some(enforcer) = &mut self.enforcer {
            enforcer.exchange(policy, Arc::clone(detector), &compiled, Arc::clone(&added.numbers))?;
        }
        Ok(self.kernel.take_into_use(&added)?)
    }

    /// What userspace looks for.
    fn exchange_seen(&self, detector: &Arc<Detector>, numbers: Option<Arc<Numbers>>) -> anyhow::Result<()> {
        let (begins, has_begun) = sync_channel(1);
        let exchange = Exchange { detector: Arc::clone(detector), numbers, begins };
        self.exchanges.send(exchange).context("the thread that reads the ring has ended")?;
        // What it reads from then on it reads with the new ones.
        has_begun.recv_timeout(PATIENCE).context("the thread that reads the ring is too busy; try again")?;
        self.processes.exchange(Arc::clone(detector));
        Ok(())
    }
}
