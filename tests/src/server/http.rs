//! Just enough of an HTTP/1.1 server for real clients: keep-alive, bodies with a length or in chunks,
//! `Expect: 100-continue`. It answers `ok` and never repeats what it was sent.

use super::Inbox;
use std::io::{self, Read, Write};
use std::net::SocketAddr;

/// What a request's head says about the rest.
struct Head {
    /// Bytes of the head, empty line included.
    length: usize,
    body: Body,
    expects_continue: bool,
    last: bool,
}

enum Body {
    Length(usize),
    Chunked,
}

/// What is answered to a request (head and decoded body): everything but the `connection` header.
pub(super) type Answer = fn(&[u8]) -> Vec<u8>;

pub(super) fn ok(_: &[u8]) -> Vec<u8> {
    b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n".to_vec()
}

pub(super) fn serve(mut stream: impl Read + Write, inbox: &Inbox, from: SocketAddr, answer: Answer) {
    let mut connection = Connection { stream: &mut stream, buffer: Vec::new(), inbox, from };
    // Errors are what clients do to servers: the test looks at what arrived.
    while let Ok(Some((request, last))) = connection.request() {
        let answer = answer(&request);
        inbox.push(from, request);
        if connection.answer(&answer, last).is_err() || last {
            break;
        }
    }
}

struct Connection<'a, S> {
    stream: &'a mut S,
    /// Bytes read and not yet part of a request.
    buffer: Vec<u8>,
    inbox: &'a Inbox,
    from: SocketAddr,
}

impl<S: Read + Write> Connection<'_, S> {
    /// The next request (head and decoded body), and whether the client wants no more after it.
    fn request(&mut self) -> io::Result<Option<(Vec<u8>, bool)>> {
        let head = loop {
            if let Some(head) = parse(&self.buffer)? {
                break head;
            }
            if !self.fill()? {
                return Ok(None);
            }
        };
        let mut request: Vec<u8> = self.buffer.drain(..head.length).collect();
        if head.expects_continue {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            self.stream.flush()?;
        }
        match head.body {
            Body::Length(length) => request.extend(self.take(length)?),
            Body::Chunked => self.chunks(&mut request)?,
        }
        Ok(Some((request, head.last)))
    }

    fn chunks(&mut self, request: &mut Vec<u8>) -> io::Result<()> {
        loop {
            let (start, size) = loop {
                match httparse::parse_chunk_size(&self.buffer).map_err(|_| malformed())? {
                    httparse::Status::Complete(found) => break found,
                    httparse::Status::Partial => self.must_fill()?,
                }
            };
            self.take(start)?;
            request.extend(self.take(size as usize)?);
            self.take(2)?;
            if size == 0 {
                return Ok(());
            }
        }
    }

    fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < length {
            self.must_fill()?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    fn must_fill(&mut self) -> io::Result<()> {
        if self.fill()? { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn fill(&mut self) -> io::Result<bool> {
        let mut bytes = [0; 16 * 1024];
        let length = self.stream.read(&mut bytes)?;
        self.buffer.extend_from_slice(&bytes[..length]);
        self.inbox.read(self.from, &bytes[..length]);
        Ok(length > 0)
    }

    fn answer(&mut self, answer: &[u8], last: bool) -> io::Result<()> {
        let status = answer.iter().position(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let (status, rest) = answer.split_at(status);
        let connection = if last { "connection: close\r\n" } else { "connection: keep-alive\r\n" };
        self.stream.write_all(&[status, connection.as_bytes(), rest].concat())?;
        self.stream.flush()
    }
}

fn parse(bytes: &[u8]) -> io::Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(bytes).map_err(|_| malformed())? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial => return Ok(None),
    };
    let is_one_zero = request.version == Some(0);
    let value = |name: &str| {
        let header = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        header.map(|header| String::from_utf8_lossy(header.value).to_ascii_lowercase())
    };
    let length_of_body = value("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let chunked = value("transfer-encoding").is_some_and(|text| text.contains("chunked"));
    Ok(Some(Head {
        length,
        body: if chunked { Body::Chunked } else { Body::Length(length_of_body) },
        expects_continue: value("expect").is_some_and(|text| text.contains("100-continue")),
        last: is_one_zero || value("connection").is_some_and(|text| text.contains("close")),
    }))
}

fn malformed() -> io::Error {
    io::ErrorKind::InvalidData.into()
}
