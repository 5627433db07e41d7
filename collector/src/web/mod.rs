//! The HTTP side: one page for people, the same as JSON, and a sign of life. It only reads.

mod api;
mod guard;
mod page;

use crate::ingest::Refusals;
use crate::store::{Store, StoreError};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, middleware};
use std::net::SocketAddr;
use std::sync::Arc;

/// What the pages are made from.
#[derive(Clone)]
pub struct Web {
    pub store: Arc<dyn Store>,
    pub refusals: Refusals,
}

/// All routes, for a server that listens on `bound`.
pub fn router(web: Web, bound: SocketAddr) -> Router {
    let style = ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("style.css"));
    let router = Router::new()
        .route("/", get(page::index))
        .route("/style.css", get(move || async move { style }))
        .route("/healthz", get(api::health))
        .route("/api/findings", get(api::findings))
        .route("/api/losses", get(api::losses))
        .with_state(web)
        .layer(middleware::map_response(guard::headers));
    if bound.ip().is_loopback() { router.layer(middleware::from_fn(guard::local_names_only)) } else { router }
}

impl Web {
    /// Reads the store where blocking harms nobody.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Failure> {
        let store = Arc::clone(&self.store);
        match tokio::task::spawn_blocking(move || read(&*store)).await {
            Ok(result) => Ok(result?),
            Err(error) => Err(Failure(error.to_string())),
        }
    }
}

/// An answer that could not be made. The log says why; the client learns only that.
#[derive(Debug)]
struct Failure(String);

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        tracing::error!(error = self.0, "cannot answer");
        (StatusCode::INTERNAL_SERVER_ERROR, "The store cannot be read; the collector's log says why.\n")
            .into_response()
    }
}
