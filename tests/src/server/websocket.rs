//! A real WebSocket server, by library.

use super::Inbox;
use std::io::{Read, Write};
use std::net::SocketAddr;
use tungstenite::Message;

pub(super) fn serve(stream: impl Read + Write, inbox: &Inbox, from: SocketAddr) {
    let Ok(mut socket) = tungstenite::accept(stream) else { return };
    while let Ok(message) = socket.read() {
        match message {
            Message::Text(_) | Message::Binary(_) => {
                inbox.push(from, message.into_data().to_vec());
                drop(socket.send(Message::text("ok")));
            }
            _ => {}
        }
    }
}
