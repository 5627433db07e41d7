//! Literals that tell where in an HTTP/1 message the bytes are (RFC 9112, 2.1): a key in the head of a request to its own provider is where it
//! belongs, the same in a prompt is not.
//!
//! A body is told only for certain: a request line was seen, the end of its head, and nothing since that could begin another request.
//! HTTP/2 needs none of them: its frames say what they hold.

use super::{Builder, Literals, Obstacle, add_told};
use keymoat_abi::enforce::{HEAD, HEAD_ENDS, MAYBE_HEAD};

/// What may begin a request: its query comes before the rest of the request line. Methods of RFC 9110, 9.3, and RFC 5789.
const METHODS: [&[u8]; 7] = [b"GET /", b"POST /", b"PUT /", b"PATCH /", b"DELETE /", b"HEAD /", b"OPTIONS /"];
/// How a request line ends.
const VERSIONS: [&[u8]; 2] = [b" HTTP/1.1\r\n", b" HTTP/1.0\r\n"];
const EMPTY_LINE: &[u8] = b"\r\n\r\n";

/// Adds them all. None if there is no room: then every key counts as one outside of bodies.
pub(super) fn add(builder: &mut Builder, literals: &mut Literals) -> Result<(), Obstacle> {
    add_told(MAYBE_HEAD, METHODS, builder, literals)?;
    add_told(HEAD, VERSIONS, builder, literals)?;
    add_told(HEAD_ENDS, [EMPTY_LINE], builder, literals)
}
