//! The head of an HTTP/1.x message: is it one, how long is it, and how is the body behind it framed?

use crate::decode::About;
use crate::decode::place::Side;
use httparse::{Header, ParserConfig, Status};
use std::mem::MaybeUninit;
use std::net::IpAddr;

const MAX_HEADERS: usize = 128;
const MAX_METHOD: usize = 20;
const MAX_HOST: usize = 253;
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the bytes at the start of a message say they are. More bytes never turn one answer into another,
/// except `Unclear` into any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    Request,
    Response,
    H2,
    /// The first line is not whole yet, and HTTP so far.
    Unclear,
    Other,
}

pub fn opening(bytes: &[u8]) -> Opening {
    if bytes.first().is_none_or(|first| !first.is_ascii_uppercase()) {
        return if bytes.is_empty() { Opening::Unclear } else { Opening::Other };
    }
    if bytes.starts_with(H2_PREFACE) {
        return Opening::H2;
    }
    if H2_PREFACE.starts_with(bytes) {
        return Opening::Unclear;
    }
    match prefix(bytes, b"HTTP/1.") {
        Some(rest) if rest.contains(&b'\n') => Opening::Response,
        Some(_) => Opening::Unclear,
        None => request_line(bytes),
    }
}

fn request_line(bytes: &[u8]) -> Opening {
    let in_method = |b: &u8| b.is_ascii_uppercase() || *b == b'-' || *b == b'_';
    let Some(method) = bytes.iter().position(|b| !in_method(b)) else {
        return if bytes.len() > MAX_METHOD { Opening::Other } else { Opening::Unclear };
    };
    if method > MAX_METHOD || bytes.get(method) != Some(&b' ') {
        return Opening::Other;
    }
    let target = bytes.get(method + 1..).unwrap_or_default();
    let Some(length) = target.iter().position(|&b| b <= b' ') else { return Opening::Unclear };
    if length == 0 || target.get(length) != Some(&b' ') {
        return Opening::Other;
    }
    let version = target.get(length + 1..).unwrap_or_default();
    match prefix(version, b"HTTP/1.") {
        None => Opening::Other,
        Some([]) | Some([b'0' | b'1']) | Some([b'0' | b'1', b'\r']) => Opening::Unclear,
        Some([b'0' | b'1', b'\n', ..]) | Some([b'0' | b'1', b'\r', b'\n', ..]) => Opening::Request,
        Some(_) => Opening::Other,
    }
}

/// What follows `expected` in `bytes`; nothing when `bytes` is a part of it; none when they differ.
fn prefix<'a>(bytes: &'a [u8], expected: &[u8]) -> Option<&'a [u8]> {
    if expected.starts_with(bytes) {
        return Some(&[]);
    }
    bytes.strip_prefix(expected)
}

/// What an unfinished first line most likely is; none when it is most likely not HTTP.
pub fn likely(bytes: &[u8]) -> Option<Side> {
    const METHODS: &[&[u8]] =
        &[b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"PATCH", b"OPTIONS", b"CONNECT", b"TRACE"];
    match opening(bytes) {
        Opening::Request => Some(Side::Request),
        Opening::Response => Some(Side::Response),
        Opening::H2 | Opening::Other => None,
        Opening::Unclear if bytes.starts_with(b"HTTP/1.") => Some(Side::Response),
        Opening::Unclear => {
            let mut words = bytes.splitn(2, |&b| b == b' ');
            let known = words.next().is_some_and(|word| METHODS.contains(&word));
            let target = words.next().unwrap_or_default();
            let shaped = target.starts_with(b"/") || target.starts_with(b"http") || target.starts_with(b"*");
            (known && shaped).then_some(Side::Request)
        }
    }
}

/// Where a message's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// A request that announces no body. By the RFC it has none; what follows may be one all the same.
    Unannounced,
    /// There is none, and what follows is another protocol, if the other side agrees.
    Tunnel(Tunnel),
    Length(u64),
    Chunked,
    UntilClose,
    /// The headers contradict each other.
    Unclear,
}

/// What a connection turns into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tunnel {
    WebSocket,
    Anything,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    pub side: Side,
    pub len: usize,
    pub host: Option<&'a str>,
    pub content_type: Option<&'a [u8]>,
    pub content_encoding: Option<&'a [u8]>,
    pub grpc_encoding: Option<&'a [u8]>,
    pub framing: Framing,
}

impl<'a> Head<'a> {
    pub fn about(&self) -> About<'a> {
        About {
            stream: 0,
            side: self.side,
            host: self.host,
            content_type: self.content_type,
            content_encoding: self.content_encoding,
            grpc_encoding: self.grpc_encoding,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    Whole(Head<'a>),
    Part,
    Invalid,
}

pub fn parse(side: Side, bytes: &[u8]) -> Parsed<'_> {
    let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    match side {
        Side::Request => request(bytes, &mut headers),
        Side::Response => response(bytes, &mut headers),
    }
}

fn request<'b>(bytes: &'b [u8], headers: &mut [MaybeUninit<Header<'b>>]) -> Parsed<'b> {
    let mut request = httparse::Request::new(&mut []);
    let mut config = ParserConfig::default();
    config.ignore_invalid_headers_in_requests(true);
    match config.parse_request_with_uninit_headers(&mut request, bytes, headers) {
        Ok(Status::Complete(len)) => {
            let target = request.path.unwrap_or_default();
            let connect = request.method == Some("CONNECT");
            let facts = Facts::of(request.headers);
            let host = if connect { Some(target) } else { authority(target).or(facts.host) };
            let framing = match facts.framing() {
                Some(framing) => framing,
                None if connect => Framing::Tunnel(Tunnel::Anything),
                None if facts.upgrade.is_some() => Framing::Tunnel(facts.tunnel()),
                None => Framing::Unannounced,
            };
            Parsed::Whole(facts.head(Side::Request, len, host.and_then(host_name), framing))
        }
        Ok(Status::Partial) => Parsed::Part,
        Err(_) => Parsed::Invalid,
    }
}

fn response<'b>(bytes: &'b [u8], headers: &mut [MaybeUninit<Header<'b>>]) -> Parsed<'b> {
    let mut response = httparse::Response::new(&mut []);
    let mut config = ParserConfig::default();
    config.ignore_invalid_headers_in_responses(true);
    match config.parse_response_with_uninit_headers(&mut response, bytes, headers) {
        Ok(Status::Complete(len)) => {
            let facts = Facts::of(response.headers);
            let framing = match response.code.unwrap_or_default() {
                101 => Framing::Tunnel(facts.tunnel()),
                100..=199 | 204 | 304 => Framing::Empty,
                _ => facts.framing().unwrap_or(Framing::UntilClose),
            };
            Parsed::Whole(facts.head(Side::Response, len, None, framing))
        }
        Ok(Status::Partial) => Parsed::Part,
        Err(_) => Parsed::Invalid,
    }
}

/// What the headers say about the message.
#[derive(Default)]
struct Facts<'a> {
    host: Option<&'a str>,
    length: Option<Result<u64, ()>>,
    /// Some(true): ends with `chunked`.
    transfer: Option<bool>,
    upgrade: Option<&'a [u8]>,
    content_type: Option<&'a [u8]>,
    content_encoding: Option<&'a [u8]>,
    grpc_encoding: Option<&'a [u8]>,
}

impl<'a> Facts<'a> {
    fn of(headers: &[Header<'a>]) -> Self {
        let mut facts = Self::default();
        for header in headers {
            let is = |name| header.name.eq_ignore_ascii_case(name);
            match header.name.len() {
                4 if is("host") => facts.host = std::str::from_utf8(header.value).ok(),
                7 if is("upgrade") => facts.upgrade = Some(header.value),
                12 if is("content-type") => facts.content_type = Some(header.value),
                13 if is("grpc-encoding") => facts.grpc_encoding = Some(header.value),
                14 if is("content-length") => facts.add_length(header.value),
                16 if is("content-encoding") => facts.content_encoding = Some(header.value),
                17 if is("transfer-encoding") => {
                    let last = header.value.rsplit(|&b| b == b',').next().unwrap_or_default();
                    facts.transfer = Some(last.trim_ascii().eq_ignore_ascii_case(b"chunked"));
                }
                _ => {}
            }
        }
        facts
    }

    fn head(&self, side: Side, len: usize, host: Option<&'a str>, framing: Framing) -> Head<'a> {
        let Self { content_type, content_encoding, grpc_encoding, .. } = *self;
        Head { side, len, host, content_type, content_encoding, grpc_encoding, framing }
    }

    fn tunnel(&self) -> Tunnel {
        let names = self.upgrade.unwrap_or_default().split(|&b| b == b',').map(<[u8]>::trim_ascii);
        let mut names = names.filter(|name| name.eq_ignore_ascii_case(b"websocket"));
        if names.next().is_some() { Tunnel::WebSocket } else { Tunnel::Anything }
    }

    /// The same length may be given twice, in two headers or in one.
    fn add_length(&mut self, value: &[u8]) {
        for one in value.split(|&b| b == b',').map(<[u8]>::trim_ascii) {
            let digits = !one.is_empty() && one.iter().all(u8::is_ascii_digit);
            let number = std::str::from_utf8(one).ok().filter(|_| digits).and_then(|text| text.parse().ok());
            self.length = Some(match (self.length, number) {
                (None, Some(number)) => Ok(number),
                (Some(Ok(before)), Some(number)) if before == number => Ok(number),
                _ => Err(()),
            });
        }
    }

    /// None: the headers announce no body.
    fn framing(&self) -> Option<Framing> {
        match (self.transfer, self.length) {
            (Some(true), _) => Some(Framing::Chunked),
            (Some(false), _) => Some(Framing::UntilClose),
            (None, Some(Ok(0))) => Some(match self.upgrade {
                Some(_) => Framing::Tunnel(self.tunnel()),
                None => Framing::Empty,
            }),
            (None, Some(Ok(length))) => Some(Framing::Length(length)),
            (None, Some(Err(()))) => Some(Framing::Unclear),
            (None, None) => None,
        }
    }
}

/// `host:port` of a target in absolute form, as a proxy is given it.
fn authority(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let authority = rest.split(['/', '?', '#']).next()?;
    Some(authority.rsplit_once('@').map_or(authority, |(_, host)| host))
}

/// The name in `host[:port]`; none when there is no name in it (an address, or nonsense).
pub fn host_name(authority: &str) -> Option<&str> {
    let authority = authority.trim();
    let name = match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => authority,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    let is_name = !name.is_empty() && name.len() <= MAX_HOST && name.bytes().all(valid);
    (is_name && name.parse::<IpAddr>().is_err()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framing(head: &str) -> Framing {
        let side = if head.starts_with("HTTP/") { Side::Response } else { Side::Request };
        match parse(side, head.replace('\n', "\r\n").as_bytes()) {
            Parsed::Whole(head) => head.framing,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_opening_never_changes_its_mind() {
        let texts: [&[u8]; 8] = [
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n",
            H2_PREFACE,
            b"PRI * HTTP/1.1\r\n\r\n",
            b"EHLO mail.example\r\n",
            b"GET  / HTTP/1.1\r\n",
            b"GET / HTTP/2.0\r\n",
            b"HTTP/3 nope\n",
        ];
        for text in texts {
            let end = opening(text);
            for cut in 0..text.len() {
                let now = opening(&text[..cut]);
                assert!(now == Opening::Unclear || now == end, "{now:?} then {end:?} at {cut}");
            }
        }
        assert_eq!(opening(texts[0]), Opening::Request);
        assert_eq!(opening(texts[1]), Opening::Response);
        assert_eq!(opening(texts[2]), Opening::H2);
        assert_eq!(opening(texts[3]), Opening::Request);
        assert!(texts[4..].iter().all(|text| opening(text) == Opening::Other));
        assert_eq!(opening(b"sk-lower"), Opening::Other);
        assert_eq!(opening(&[0x16, 3, 1]), Opening::Other);
    }

    #[test]
    fn bodies_are_framed_by_the_rfc() {
        assert_eq!(framing("GET / HTTP/1.1\nHost: a\n\n"), Framing::Unannounced);
        assert_eq!(framing("POST / HTTP/1.1\nContent-Length: 5\n\n"), Framing::Length(5));
        assert_eq!(framing("POST / HTTP/1.1\nContent-Length: 5\nContent-Length: 5\n\n"), Framing::Length(5));
        assert_eq!(framing("POST / HTTP/1.1\nContent-Length: 5, 6\n\n"), Framing::Unclear);
        assert_eq!(framing("POST / HTTP/1.1\nContent-Length: +5\n\n"), Framing::Unclear);
        assert_eq!(framing("POST / HTTP/1.1\nContent-Length: 99999999999999999999\n\n"), Framing::Unclear);
        assert_eq!(
            framing("POST / HTTP/1.1\nContent-Length: 5\nTransfer-Encoding: gzip, Chunked\n\n"),
            Framing::Chunked
        );
        assert_eq!(framing("GET / HTTP/1.1\nUpgrade: websocket\n\n"), Framing::Tunnel(Tunnel::WebSocket));
        assert_eq!(framing("CONNECT a:443 HTTP/1.1\n\n"), Framing::Tunnel(Tunnel::Anything));
        assert_eq!(framing("HTTP/1.1 204 No\nContent-Length: 5\n\n"), Framing::Empty);
        assert_eq!(framing("HTTP/1.1 101 Switch\n\n"), Framing::Tunnel(Tunnel::Anything));
        assert_eq!(framing("HTTP/1.1 100 Continue\n\n"), Framing::Empty);
        assert_eq!(framing("HTTP/1.1 200 OK\n\n"), Framing::UntilClose);
    }

    #[test]
    fn hosts_are_names_without_ports() {
        assert_eq!(host_name("api.Example.com:8443"), Some("api.Example.com"));
        assert_eq!(host_name("example.com."), Some("example.com"));
        assert_eq!(host_name("192.0.2.1:80"), None);
        assert_eq!(host_name("[2001:db8::1]:80"), None);
        assert_eq!(host_name("a b"), None);
        assert_eq!(host_name(""), None);
        assert_eq!(authority("http://u:p@proxy.test:8080/x"), Some("proxy.test:8080"));
        assert_eq!(authority("/x?u=http://a/"), None);
    }

    #[test]
    fn unfinished_first_lines_are_judged_by_what_they_look_like() {
        assert_eq!(likely(b"GET /x?key="), Some(Side::Request));
        assert_eq!(likely(b"HTTP/1.1 20"), Some(Side::Response));
        assert_eq!(likely(b"GET"), None);
        assert_eq!(likely(b"EHLO x"), None);
    }
}
