//! Protocols: what each hands out is bounded by what it was given, and so is what it keeps.

use keymoat_detect::decode::http1::Http1;
use keymoat_detect::decode::http2::Http2;
use keymoat_detect::decode::place::Side;
use keymoat_detect::decode::websocket::WebSocket;
use keymoat_detect::decode::{About, Field, Part, Piece, Pieces};
use keymoat_fuzz::parts;

/// Counts what it is handed.
#[derive(Default)]
struct Count {
    bytes: usize,
    fields: usize,
}

impl Pieces for Count {
    fn message(&mut self, _: About<'_>) {}
    fn piece(&mut self, piece: Piece<'_>) {
        assert!(piece.peeked <= piece.bytes.len());
        assert!(piece.part != Part::Whole || !piece.bytes.is_empty() || piece.peeked == 0);
        self.bytes += piece.bytes.len() - piece.peeked;
    }
    fn field(&mut self, field: Field<'_>) {
        self.fields += field.name.unwrap_or_default().len() + field.value.len();
    }
    fn head_too_long(&mut self) {}
}

#[test]
fn http1() {
    bolero::check!().for_each(|input: &[u8]| {
        let (mut http1, mut count, mut given) = (Http1::default(), Count::default(), 0);
        for part in parts(input) {
            given += part.len();
            http1.feed(part, true, &mut count);
            match part.len() % 13 {
                0 => http1.peek(&mut count),
                1 => http1.gap(part.len() as u64, &mut count),
                _ => {}
            }
            assert!(count.bytes <= given);
        }
        http1.give_up(&mut count);
        assert!(count.bytes <= given);
    });
}

#[test]
fn http2() {
    bolero::check!().for_each(|input: &[u8]| {
        for mut http2 in [Http2::new(), Http2::midway(Default::default())] {
            let (mut count, mut given) = (Count::default(), 0);
            for part in parts(input) {
                given += part.len();
                http2.feed(part, true, &mut count);
                match part.len() % 13 {
                    0 => http2.peek(&mut count),
                    1 => http2.gap(part.len() as u64, &mut count),
                    _ => {}
                }
                // A byte can stand for an entry of the table, of 4 KiB at most.
                assert!(count.fields <= given * 4096 && count.bytes <= given);
                assert!(http2.buffered() <= 1 << 20, "{} bytes kept", http2.buffered());
            }
            http2.give_up(&mut count);
        }
    });
}

#[test]
fn websocket() {
    bolero::check!().for_each(|input: &[u8]| {
        for side in [Side::Request, Side::Response] {
            let (mut websocket, mut count, mut given) = (WebSocket::new(side), Count::default(), 0);
            for part in parts(input) {
                given += part.len();
                // What cannot be inflated is only given up.
                let _ = websocket.feed(part, true, &mut count);
                if part.len() % 13 == 1 {
                    let _ = websocket.gap(part.len() as u64, &mut count);
                }
                assert!(count.bytes <= (given * 200).max(1 << 20));
                assert!(websocket.buffered() <= 64 << 10, "{} bytes kept", websocket.buffered());
            }
        }
    });
}
