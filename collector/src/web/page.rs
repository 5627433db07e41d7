//! The page for people.

use super::{Failure, Web};
use crate::model::{About, Agent, Finding, Notice};
use askama::Template;
use axum::extract::{Query, State};
use axum::response::Html;
use serde::Deserialize;
use std::collections::BTreeMap;

const FINDINGS: usize = 200;
const AGENTS: usize = 50;
const NOTICES: usize = 50;

#[derive(Deserialize)]
pub(super) struct Place {
    /// Only findings older than this one.
    before: Option<String>,
}

#[derive(Template)]
#[template(path = "index.html")]
struct Index {
    findings: Vec<Finding>,
    /// The page shows older findings, not the newest.
    older: bool,
    next: Option<String>,
    agents: Vec<Agent>,
    notices: Vec<Notice>,
    refused: BTreeMap<String, u64>,
}

pub(super) async fn index(
    State(web): State<Web>,
    Query(Place { before }): Query<Place>,
) -> Result<Html<String>, Failure> {
    let older = before.is_some();
    let (findings, agents, notices) = web
        .read(move |store| {
            let findings = store.findings(FINDINGS, before.as_deref())?;
            Ok((findings, store.agents(AGENTS)?, store.notices(NOTICES)?))
        })
        .await?;
    let next = findings.last().filter(|_| findings.len() == FINDINGS).map(|last| last.id.clone());
    let refused = web.refusals.snapshot();
    Ok(Html(Index { findings, older, next, agents, notices, refused }.render()?))
}

impl Index {
    fn losses(&self) -> bool {
        !self.refused.is_empty() || self.agents.iter().any(|agent| !agent.losses.is_empty())
    }
}
