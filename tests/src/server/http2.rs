//! A real HTTP/2 server, by library. It answers `ok` and never repeats what it was sent.

use super::Inbox;
use crate::pki;
use std::fmt::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use tokio::net::TcpStream as AsyncStream;

type Failure = Box<dyn std::error::Error>;

pub(super) fn serve(stream: TcpStream, inbox: &Arc<Inbox>, from: SocketAddr) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    // Errors are what clients do to servers: the test looks at what arrived.
    drop(runtime.block_on(connection(stream, inbox, from)));
}

async fn connection(stream: TcpStream, inbox: &Arc<Inbox>, from: SocketAddr) -> Result<(), Failure> {
    stream.set_nonblocking(true)?;
    let stream = AsyncStream::from_std(stream)?;
    let stream = tokio_rustls::TlsAcceptor::from(pki::http2_server()).accept(stream).await?;
    let mut connection = h2::server::handshake(stream).await?;
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted?;
        let inbox = Arc::clone(inbox);
        // The connection must go on being driven while a body is read.
        tokio::spawn(async move {
            if let Ok(received) = exchange(request, respond).await {
                inbox.push(from, received);
            }
        });
    }
    Ok(())
}

async fn exchange(
    request: http::Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<bytes::Bytes>,
) -> Result<Vec<u8>, h2::Error> {
    let (head, mut body) = request.into_parts();
    let mut text = format!("{} {}\n", head.method, head.uri);
    for (name, value) in &head.headers {
        let _ = writeln!(text, "{name}: {}", String::from_utf8_lossy(value.as_bytes()));
    }
    let mut received = text.into_bytes();
    received.push(b'\n');
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        received.extend_from_slice(&data);
    }
    let mut answer = respond.send_response(http::Response::new(()), false)?;
    answer.send_data(bytes::Bytes::from_static(b"ok\n"), true)?;
    Ok(received)
}
