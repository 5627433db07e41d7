//! The same as JSON, for programs.

use super::{Failure, Web};
use crate::model::Finding;
use axum::Json;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Findings of one answer, and the most a client may ask for.
const PAGE: usize = 100;
const LARGEST_PAGE: usize = 1000;
/// Runs of agents whose losses are listed.
const AGENTS: usize = 1000;

#[derive(Deserialize)]
pub(super) struct Page {
    limit: Option<usize>,
    /// Only findings older than this one.
    before: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Findings {
    /// Newest first.
    findings: Vec<Finding>,
    /// `before` of the next page.
    next: Option<String>,
}

pub(super) async fn findings(
    State(web): State<Web>,
    Query(page): Query<Page>,
) -> Result<Json<Findings>, Failure> {
    let limit = page.limit.unwrap_or(PAGE).clamp(1, LARGEST_PAGE);
    let findings = web.read(move |store| store.findings(limit, page.before.as_deref())).await?;
    let next = findings.last().filter(|_| findings.len() == limit).map(|last| last.id.clone());
    Ok(Json(Findings { findings, next }))
}

/// What one run of an agent could not deliver, of one cause.
#[derive(Serialize)]
struct Loss {
    host: String,
    run: String,
    cause: String,
    total: u64,
}

#[derive(Serialize)]
pub(super) struct Losses {
    losses: Vec<Loss>,
    /// Events this collector refused since it started, by reason.
    refused: BTreeMap<String, u64>,
}

pub(super) async fn losses(State(web): State<Web>) -> Result<Json<Losses>, Failure> {
    let agents = web.read(|store| store.agents(AGENTS)).await?;
    let losses = agents.into_iter().flat_map(|agent| {
        let (host, run) = (agent.host, agent.run);
        let loss = move |(cause, total)| Loss { host: host.clone(), run: run.clone(), cause, total };
        agent.losses.into_iter().map(loss)
    });
    Ok(Json(Losses { losses: losses.collect(), refused: web.refusals.snapshot() }))
}

/// Well when the store can be read.
pub(super) async fn health(State(web): State<Web>) -> Result<&'static str, Failure> {
    web.read(|store| store.agents(1)).await?;
    Ok("ok\n")
}
