//! HTTP/2 as a real implementation sends it: both sides of its connections, cut anywhere, joined late.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests assert by panicking")]

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use keymoat_detect::decode::http2::{Http2, looks_like_frames};
use keymoat_detect::decode::place::{Place, Side};
use keymoat_detect::decode::{About, Field, Piece, Pieces};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

const REQUESTS: usize = 12;
const BODY: usize = 40_000;

/// One end of a connection that keeps what is written to it, write by write.
struct Tapped {
    inner: DuplexStream,
    writes: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl AsyncRead for Tapped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tapped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, buf);
        if let Poll::Ready(Ok(count)) = &result {
            self.writes.lock().unwrap().push(buf[..*count].to_vec());
        }
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

fn text(number: usize, length: usize) -> Vec<u8> {
    (0..length).map(|i| b'a' + ((i * 7 + number) % 26) as u8).collect()
}

/// A conversation: every request has a sensitive header, some of its own, a body and a trailer. Gives both sides' writes.
async fn converse() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let (near, far) = tokio::io::duplex(1 << 16);
    let (requests, responses) = (Arc::default(), Arc::default());
    let near = Tapped { inner: near, writes: Arc::clone(&requests) };
    let far = Tapped { inner: far, writes: Arc::clone(&responses) };
    let server = tokio::spawn(serve(far));
    let (mut client, connection) = h2::client::handshake(near).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut answers = Vec::new();
    for number in 0..REQUESTS {
        let mut key = HeaderValue::from_str(&format!("Bearer value-{number}")).unwrap();
        key.set_sensitive(true);
        let request = Request::post(format!("https://api.example.com/v1/items/{number}?q=1"))
            .header("content-type", "application/json")
            .header("authorization", key)
            .header("x-api-key", "the same every time")
            .header("x-request-number", number.to_string())
            .body(())
            .unwrap();
        client = client.ready().await.unwrap();
        let (answer, mut body) = client.send_request(request, false).unwrap();
        body.send_data(Bytes::from(text(number, BODY)), false).unwrap();
        let mut trailer = HeaderMap::new();
        trailer.insert("x-sum", HeaderValue::from(number));
        body.send_trailers(trailer).unwrap();
        answers.push(tokio::spawn(drain(answer)));
    }
    for answer in answers {
        answer.await.unwrap();
    }
    drop(client);
    connection.await.unwrap().unwrap();
    server.await.unwrap();
    let taken = |writes: Arc<Mutex<Vec<Vec<u8>>>>| std::mem::take(&mut *writes.lock().unwrap());
    (taken(requests), taken(responses))
}

async fn drain(answer: h2::client::ResponseFuture) {
    let mut body = answer.await.unwrap().into_body();
    while let Some(data) = body.data().await {
        let _ = body.flow_control().release_capacity(data.unwrap().len());
    }
}

async fn serve(far: Tapped) {
    let mut connection = h2::server::handshake(far).await.unwrap();
    while let Some(accepted) = connection.accept().await {
        let (request, mut respond) = accepted.unwrap();
        tokio::spawn(async move {
            let number = request.headers()["x-request-number"].clone();
            let mut body = request.into_body();
            while let Some(data) = body.data().await {
                let _ = body.flow_control().release_capacity(data.unwrap().len());
            }
            let answer = Response::builder().header("set-cookie", "session=1").header("x-number", number);
            let mut body = respond.send_response(answer.body(()).unwrap(), false).unwrap();
            body.send_data(Bytes::from_static(b"done"), true).unwrap();
        });
    }
}

#[derive(Default, Debug, PartialEq)]
struct Stream {
    about: Vec<(Option<String>, Option<String>)>,
    fields: Vec<(Option<String>, String)>,
    body: Vec<u8>,
}

#[derive(Default, Debug, PartialEq)]
struct Seen {
    streams: BTreeMap<u32, Stream>,
    sides: Vec<Side>,
    /// Pieces that belong to no stream, pings aside.
    stray: usize,
}

fn string(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

impl Pieces for Seen {
    fn message(&mut self, about: About<'_>) {
        let about_it = (about.host.map(str::to_owned), about.content_type.map(string));
        self.streams.entry(about.stream).or_default().about.push(about_it);
        self.sides.push(about.side);
    }

    fn piece(&mut self, piece: Piece<'_>) {
        match piece.place {
            Place::Body(_) => {
                self.streams.entry(piece.stream).or_default().body.extend_from_slice(piece.bytes);
            }
            _ => self.stray += usize::from(piece.stream == 0 && piece.bytes.len() > 8),
        }
    }

    fn field(&mut self, field: Field<'_>) {
        let stream = self.streams.entry(field.stream).or_default();
        stream.fields.push((field.name.map(string), string(field.value)));
    }

    fn head_too_long(&mut self) {
        self.stray += 1;
    }
}

fn see<'a>(mut http: Http2, parts: impl IntoIterator<Item = &'a [u8]>) -> Seen {
    let mut seen = Seen::default();
    parts.into_iter().for_each(|part| http.feed(part, true, &mut seen));
    seen
}

fn named(name: &str, value: &str) -> (Option<String>, String) {
    (Some(name.to_owned()), value.to_owned())
}

#[tokio::test]
async fn what_a_client_sends_is_what_comes_out() {
    let (requests, _) = converse().await;
    let all = requests.concat();
    let seen = see(Http2::new(), [&all[..]]);
    assert_eq!((seen.streams.len(), seen.stray), (REQUESTS, 0));
    for (number, stream) in seen.streams.values().enumerate() {
        let about = (Some("api.example.com".to_owned()), Some("application/json".to_owned()));
        assert_eq!(stream.about, [about]);
        let expected = [
            named(":method", "POST"),
            named(":scheme", "https"),
            named(":authority", "api.example.com"),
            named(":path", &format!("/v1/items/{number}?q=1")),
            named("authorization", &format!("Bearer value-{number}")),
            named("x-api-key", "the same every time"),
            named("x-request-number", &number.to_string()),
            named("x-sum", &number.to_string()),
        ];
        for field in &expected {
            assert!(stream.fields.contains(field), "{field:?} in {:?}", stream.fields);
        }
        assert_eq!(stream.fields.len(), expected.len() + 1);
        assert_eq!(stream.body, text(number, BODY));
    }
    for size in [1, 7, 1000] {
        assert_eq!(see(Http2::new(), all.chunks(size)), seen);
    }
}

#[tokio::test]
async fn what_a_server_sends_is_what_comes_out() {
    let (_, responses) = converse().await;
    let seen = see(Http2::new(), responses.iter().map(Vec::as_slice));
    assert_eq!((seen.streams.len(), seen.stray), (REQUESTS, 0));
    assert!(seen.sides.iter().all(|&side| side == Side::Response));
    for stream in seen.streams.values() {
        assert!(stream.fields.contains(&named(":status", "200")));
        assert!(stream.fields.contains(&named("set-cookie", "session=1")));
        assert_eq!(stream.body, b"done");
    }
}

/// From any write on that begins with frames: every field that comes out is right, and has the right name or none.
#[tokio::test]
async fn a_real_connection_joined_late_names_nothing_wrongly() {
    let (requests, responses) = converse().await;
    for writes in [requests, responses] {
        let whole = see(Http2::new(), writes.iter().map(Vec::as_slice));
        let mut joined = 0;
        for start in 1..writes.len() {
            let Some(sender) = looks_like_frames(&writes[start]) else { continue };
            joined += 1;
            let part = see(Http2::midway(sender), writes[start..].iter().map(Vec::as_slice));
            assert_eq!(part.stray, 0);
            for (number, stream) in &part.streams {
                let truth = &whole.streams[number];
                assert!(truth.body.ends_with(&stream.body));
                for (name, value) in &stream.fields {
                    let is_true =
                        |(n, v): &(Option<String>, String)| v == value && (name.is_none() || name == n);
                    assert!(truth.fields.iter().any(is_true), "{name:?}: {value}");
                }
            }
        }
        assert!(joined > 1, "{joined} of {}", writes.len());
    }
}
