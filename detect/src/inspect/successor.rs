//! What a connection speaks once HTTP/1 made way for it.

use crate::decode::Pieces;
use crate::decode::http2::{Http2, looks_like_frames};
use crate::decode::limit::Stopped;
use crate::decode::place::{Place, Side};
use crate::decode::websocket::WebSocket;

pub enum Successor {
    Http2(Box<Http2>),
    WebSocket(Box<WebSocket>),
}

impl Successor {
    /// What HTTP/1 says that the bytes of this place are.
    pub fn at(place: Place) -> Option<Self> {
        match place {
            Place::H2 => Some(Self::Http2(Box::default())),
            Place::WebSocket(side) => Some(Self::WebSocket(Box::new(WebSocket::new(side)))),
            _ => None,
        }
    }

    /// HTTP/2 without a client's preface: a server's side.
    pub fn of_server(write: &[u8]) -> Option<Self> {
        looks_like_frames(write).map(|_| Self::Http2(Box::default()))
    }

    /// A connection older than whoever looks. Of WebSocket only the client's side is known again: its frames are masked.
    pub fn midway(write: &[u8]) -> Option<Self> {
        if let Some(sender) = looks_like_frames(write) {
            return Some(Self::Http2(Box::new(Http2::midway(sender))));
        }
        if !WebSocket::likely(Side::Request, write) {
            return None;
        }
        let mut websocket = WebSocket::new(Side::Request);
        websocket.joined_midway();
        Some(Self::WebSocket(Box::new(websocket)))
    }

    pub fn protocol(&self) -> &'static str {
        match self {
            Self::Http2(_) => "h2",
            Self::WebSocket(_) => "websocket",
        }
    }

    /// Takes the next bytes. `write_start`: they are the first of what the program wrote in one call. An error says that
    /// something in them was not decoded to its end.
    pub fn feed(&mut self, bytes: &[u8], write_start: bool, out: &mut impl Pieces) -> Result<(), Stopped> {
        match self {
            Self::Http2(http2) => {
                http2.feed(bytes, write_start, out);
                Ok(())
            }
            Self::WebSocket(websocket) => websocket.feed(bytes, write_start, out),
        }
    }

    /// `missing` bytes were not delivered.
    pub fn gap(&mut self, missing: u64, out: &mut impl Pieces) -> Result<(), Stopped> {
        match self {
            Self::Http2(http2) => {
                http2.gap(missing, out);
                Ok(())
            }
            Self::WebSocket(websocket) => websocket.gap(missing, out),
        }
    }

    /// Shows what is held back, and keeps waiting for the rest. Of WebSocket nothing is held back that could be a secret.
    pub fn peek(&mut self, out: &mut impl Pieces) {
        if let Self::Http2(http2) = self {
            http2.peek(out);
        }
    }

    /// Stops waiting for the rest of what is held back.
    pub fn give_up(&mut self, out: &mut impl Pieces) {
        if let Self::Http2(http2) = self {
            http2.give_up(out);
        }
    }

    /// Is something held back that [`Self::peek`] would show?
    pub fn pending(&self) -> bool {
        match self {
            Self::Http2(http2) => http2.pending(),
            Self::WebSocket(_) => false,
        }
    }

    /// Bytes of memory in use, about.
    pub fn buffered(&self) -> usize {
        match self {
            Self::Http2(http2) => http2.buffered(),
            Self::WebSocket(websocket) => websocket.buffered(),
        }
    }

    /// Would the next byte be the first of a message?
    pub fn at_start(&self) -> bool {
        match self {
            Self::Http2(http2) => http2.at_start(),
            Self::WebSocket(websocket) => websocket.at_start(),
        }
    }

    /// Forgets where in a message the stream is.
    pub fn lose_sync(&mut self) {
        match self {
            Self::Http2(http2) => http2.lose_sync(),
            Self::WebSocket(websocket) => websocket.lose_sync(),
        }
    }
}
