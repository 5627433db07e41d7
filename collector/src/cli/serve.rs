//! `keymoat-collector serve`

use super::StoreArgs;
use crate::ingest::{Ingest, Refusals};
use crate::store::commit::Committer;
use crate::store::{self, Access};
use crate::web::{self, Web};
use anyhow::Context;
use keymoat_proto::limits;
use keymoat_proto::v1::collector_server::CollectorServer;
use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tonic::transport::server::TcpIncoming;

/// What is under way when the collector is told to end gets this long.
const DRAIN: Duration = Duration::from_secs(10);
/// An agent that has been silent this long is asked whether it lives, and is forgotten when it does not answer.
const PING: Duration = Duration::from_secs(20);
/// Streams and calls one connection may have open; an agent needs one.
const STREAMS: u32 = 16;

#[derive(Debug, clap::Args)]
pub struct Serve {
    /// Where agents connect; port 0 takes any that is free
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7443")]
    grpc: SocketAddr,
    /// Where the web page is; port 0 takes any that is free
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7480")]
    http: SocketAddr,
    #[command(flatten)]
    store: StoreArgs,
}

impl Serve {
    pub fn run(self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let writer = runtime.block_on(self.serve())?;
        // A reader that hangs must not keep the writer from finishing.
        runtime.shutdown_timeout(Duration::from_secs(1));
        if writer.join().is_err() {
            anyhow::bail!("the writer of the store panicked");
        }
        Ok(())
    }

    /// Serves until told to end. The writer's thread still has what was queued last.
    async fn serve(self) -> anyhow::Result<JoinHandle<()>> {
        let store = store::open(&self.store.store, Access::Write)?;
        let (committer, writer) = Committer::start(store.writer()?)?;
        let grpc = bind(self.grpc).await?;
        let http = bind(self.http).await?;
        let (grpc_address, http_address) = (grpc.local_addr()?, http.local_addr()?);

        for address in [grpc_address, http_address] {
            if !address.ip().is_loopback() {
                tracing::warn!(
                    "whoever can reach {address} is trusted: there is neither TLS nor a password yet"
                );
            }
        }

        let (stop, stopped) = watch::channel(false);
        let refusals = Refusals::default();
        let web = Web { store: Arc::clone(&store), refusals: refusals.clone() };
        let ingest = Ingest { store, committer, refusals, stop: stopped.clone() };
        let router = web::router(web, http_address);

        let agents = tokio::spawn(serve_agents(grpc, ingest, stopping(stopped.clone())));
        let readers =
            tokio::spawn(
                async move { axum::serve(http, router).with_graceful_shutdown(stopping(stopped)).await },
            );
        ready(grpc_address, http_address, &self.store.store)?;

        told_to_end().await?;
        tracing::info!("ending");
        stop.send_replace(true);
        let drained = async { (agents.await, readers.await) };
        match tokio::time::timeout(DRAIN, drained).await {
            Ok((agents, readers)) => {
                agents?.context("gRPC")?;
                readers?.context("HTTP")?;
            }
            Err(_) => tracing::warn!("some connections did not end in time"),
        }
        Ok(writer)
    }
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

async fn serve_agents(
    listener: TcpListener,
    ingest: Ingest,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let service = CollectorServer::new(ingest).max_decoding_message_size(limits::MESSAGE);
    tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(PING))
        .http2_keepalive_timeout(Some(PING))
        .max_concurrent_streams(STREAMS)
        .add_service(service)
        .serve_with_incoming_shutdown(TcpIncoming::from(listener).with_nodelay(Some(true)), stop)
        .await
}

/// One line for whoever started this: the addresses, with the ports that were chosen.
fn ready(grpc: SocketAddr, http: SocketAddr, store: &str) -> std::io::Result<()> {
    let line = serde_json::json!({"type": "ready", "grpc": grpc, "http": http, "store": store});
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

async fn stopping(mut stopped: watch::Receiver<bool>) {
    // It fails only when the sender is gone, and then it is time, too.
    let _ = stopped.wait_for(|stop| *stop).await;
}

/// Returns at SIGTERM or SIGINT.
async fn told_to_end() -> std::io::Result<()> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}
