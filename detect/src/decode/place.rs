//! Names for the places of a message: `header:x-api-key`, `query:key`, `path`, `body`, `message`, `stream`.

use std::ops::Range;

/// Which half of an exchange a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Request,
    Response,
}

/// What the bytes being scanned are part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Head(Side),
    /// Lines after or between the chunks of a body.
    Trailer(Side),
    Body(Side),
    /// A WebSocket message. Requests are what the client sends.
    Message(Side),
    /// Bytes of no known message.
    Stream,
    /// The same, but HTTP/2.
    H2,
    /// The same, but WebSocket frames.
    WebSocket(Side),
    Datagram,
}

impl Place {
    pub const fn protocol(self) -> Option<&'static str> {
        match self {
            Self::Head(_) | Self::Trailer(_) | Self::Body(_) => Some("http/1.1"),
            Self::Message(_) | Self::WebSocket(_) => Some("websocket"),
            Self::H2 => Some("h2"),
            Self::Stream | Self::Datagram => None,
        }
    }
}

/// A place inside a message. Names are as they stand in the message and may themselves be secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spot<'a> {
    Path,
    /// None: in the parameter's name.
    Query(Option<&'a [u8]>),
    /// None: in the header's name, or in a line that is no header.
    Header(Side, Option<&'a [u8]>),
    StatusLine,
    Body(Side),
    Message(Side),
    Stream,
    Datagram,
}

/// Where byte `at` of `bytes` stands.
pub fn locate(place: Place, bytes: &[u8], at: usize) -> Spot<'_> {
    match place {
        Place::Head(side) => in_head(side, bytes, at),
        Place::Trailer(side) => match in_header(side, bytes, at) {
            Spot::Header(_, None) => Spot::Body(side),
            spot => spot,
        },
        Place::Body(side) => Spot::Body(side),
        Place::Message(side) => Spot::Message(side),
        Place::Stream | Place::H2 | Place::WebSocket(_) => Spot::Stream,
        Place::Datagram => Spot::Datagram,
    }
}

fn in_head(side: Side, bytes: &[u8], at: usize) -> Spot<'_> {
    let before = bytes.get(..at).unwrap_or(bytes);
    if before.contains(&b'\n') {
        return in_header(side, bytes, at);
    }
    if side == Side::Response {
        return Spot::StatusLine;
    }
    let target = target(bytes);
    let raw = bytes.get(target.clone()).unwrap_or_default();
    match at.checked_sub(target.start) {
        Some(at) if at < raw.len() => parameters(raw)
            .find(|parameter| parameter.holds(at))
            .map_or(Spot::Path, |parameter| parameter.spot(raw, at)),
        _ => Spot::Path,
    }
}

fn in_header(side: Side, bytes: &[u8], at: usize) -> Spot<'_> {
    let start =
        bytes.get(..at).and_then(|before| before.iter().rposition(|&b| b == b'\n')).map_or(0, |i| i + 1);
    let line = bytes.get(start..).unwrap_or_default();
    let line = line.split(|&b| b == b'\n').next().unwrap_or_default();
    match line.iter().position(|&b| b == b':') {
        Some(colon) if start + colon < at => Spot::Header(side, line.get(..colon).map(<[u8]>::trim_ascii)),
        _ => Spot::Header(side, None),
    }
}

/// The request target in a head, or in as much of it as there is.
pub fn target(head: &[u8]) -> Range<usize> {
    let end_of_line = head.iter().position(|&b| b == b'\r' || b == b'\n').unwrap_or(head.len());
    let line = head.get(..end_of_line).unwrap_or_default();
    let start = line.iter().position(|&b| b == b' ').map_or(end_of_line, |space| space + 1);
    let length = line.get(start..).unwrap_or_default().iter().position(|&b| b == b' ');
    start..length.map_or(end_of_line, |length| start + length)
}

/// One `name=value` of a query; ranges within the target.
#[derive(Clone, Debug)]
pub struct Parameter {
    pub name: Range<usize>,
    /// Empty, at the end of the name, when there is no `=`.
    pub value: Range<usize>,
}

impl Parameter {
    fn holds(&self, at: usize) -> bool {
        self.name.start <= at && at < self.value.end.max(self.name.end + 1)
    }

    fn spot<'a>(&self, target: &'a [u8], at: usize) -> Spot<'a> {
        let in_value = at >= self.value.start && self.value.start > self.name.end;
        Spot::Query(in_value.then(|| target.get(self.name.clone()).unwrap_or_default()))
    }
}

/// Where a target's path ends: at its `?`, or with it.
pub fn path_end(target: &[u8]) -> usize {
    target.iter().position(|&b| b == b'?').unwrap_or(target.len())
}

pub fn parameters(target: &[u8]) -> impl Iterator<Item = Parameter> + '_ {
    let mut next = path_end(target) + 1;
    std::iter::from_fn(move || {
        let rest = target.get(next..)?;
        let length = rest.iter().position(|&b| b == b'&').unwrap_or(rest.len());
        let text = rest.get(..length)?;
        let (start, end) = (next, next + length);
        next = end + 1;
        Some(match text.iter().position(|&b| b == b'=') {
            Some(equals) => Parameter { name: start..start + equals, value: start + equals + 1..end },
            None => Parameter { name: start..end, value: end..end },
        })
    })
}

impl Spot<'_> {
    /// The place's name. `clean` takes out what must not be shown of a name the sender chose.
    pub fn name(&self, clean: impl Fn(&[u8]) -> String) -> String {
        match self {
            Self::Path => "path".to_owned(),
            Self::Query(None) => "query".to_owned(),
            Self::Query(Some(name)) => format!("query:{}", clean(name)),
            Self::Header(side, None) => header(*side).to_owned(),
            Self::Header(side, Some(name)) => {
                format!("{}:{}", header(*side), clean(&name.to_ascii_lowercase()))
            }
            Self::StatusLine => "status-line".to_owned(),
            Self::Body(Side::Request) => "body".to_owned(),
            Self::Body(Side::Response) => "response-body".to_owned(),
            Self::Message(Side::Request) => "message".to_owned(),
            Self::Message(Side::Response) => "response-message".to_owned(),
            Self::Stream => "stream".to_owned(),
            Self::Datagram => "datagram".to_owned(),
        }
    }
}

const fn header(side: Side) -> &'static str {
    match side {
        Side::Request => "header",
        Side::Response => "response-header",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"GET /a/b?x=1&key=SECRET&flag HTTP/1.1\r\nHost: h\r\nX-Api-Key: SECOND\r\n\r\n";

    fn name(place: Place, bytes: &[u8], needle: &str) -> String {
        let at = bytes.windows(needle.len()).position(|w| w == needle.as_bytes()).unwrap();
        locate(place, bytes, at).name(|name| String::from_utf8_lossy(name).into_owned())
    }

    #[test]
    fn every_place_of_a_request_head_has_its_name() {
        let head = Place::Head(Side::Request);
        assert_eq!(name(head, HEAD, "/a/b"), "path");
        assert_eq!(name(head, HEAD, "GET"), "path");
        assert_eq!(name(head, HEAD, "SECRET"), "query:key");
        assert_eq!(name(head, HEAD, "flag"), "query");
        assert_eq!(name(head, HEAD, "key="), "query");
        assert_eq!(name(head, HEAD, "SECOND"), "header:x-api-key");
        assert_eq!(name(head, HEAD, "X-Api"), "header");
        assert_eq!(name(head, HEAD, " HTTP"), "path");
    }

    #[test]
    fn a_response_and_a_trailer_have_theirs() {
        let head = b"HTTP/1.1 200 SECRET\r\nSet-Cookie: a=SECOND\r\n\r\n";
        assert_eq!(name(Place::Head(Side::Response), head, "SECRET"), "status-line");
        assert_eq!(name(Place::Head(Side::Response), head, "SECOND"), "response-header:set-cookie");
        assert_eq!(name(Place::Trailer(Side::Request), b"X-Sum: SECRET\r\n", "SECRET"), "header:x-sum");
        assert_eq!(name(Place::Trailer(Side::Request), b"5;a=SECRET\r\n", "SECRET"), "body");
    }

    #[test]
    fn a_head_cut_anywhere_is_located_without_looking_past_it() {
        for end in 0..HEAD.len() {
            for at in 0..=end {
                locate(Place::Head(Side::Request), &HEAD[..end], at);
                locate(Place::Trailer(Side::Response), &HEAD[..end], at);
            }
        }
    }
}
