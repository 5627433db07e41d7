//! Cues: literals that stand for what the agent can find and the kernel cannot. Where one leaves, the agent is shown what follows
//! on that connection; where neither a cue nor a key does, it is shown nothing.
//!
//! - keys as other codes write them: each literal by which a rule is found, in base64 (at each of the three places it can have in
//!   a group, RFC 4648) and in hexadecimal; escapes for characters that nobody has to escape (`%41`, `\u0041`);
//! - protocols and codings that hide what they carry: compressed and chunked bodies, WebSocket, what git sends;
//! - the literals of rules that only userspace can decide.
//!
//! HTTP/2 needs no cue: a stream knows it by its preface.

use super::{Obstacle, found_by};
use crate::rules::Rule;
use data_encoding::{BASE64, HEXLOWER, HEXUPPER};
use std::collections::BTreeSet;

/// Bytes of a literal whose codes are looked for: more would be surer, and longer tables.
const CODED: usize = 6;
/// The shortest code that is a cue: of shorter ones base64 text is full.
const SHORTEST_CODE: usize = 4;

/// Names of fields are written as their standards write them, or, as most libraries do, in lower case.
const PROTOCOLS: [&[u8]; 13] = [
    // RFC 9110, 8.4; RFC 9112, 6.1; RFC 2045, 6.
    b"ontent-Encoding:",
    b"ontent-encoding:",
    b"ransfer-Encoding:",
    b"ransfer-encoding:",
    // RFC 6455, 4.1.
    b"ec-WebSocket-",
    b"ec-websocket-",
    b"pgrade: websocket",
    b"pgrade: WebSocket",
    // gitprotocol-http(5), gitprotocol-pack(5).
    b"git-receive-pack",
    b"PACK\0\0\0",
    // Bodies that say of themselves what they are: RFC 1952, 2.3.1; RFC 8878, 3.1.1.
    b"\x1f\x8b\x08",
    b"\x28\xb5\x2f\xfd",
    // SMTP (RFC 4954, 4): what follows is in base64.
    b"AUTH PLAIN",
];

/// All cues for these rules.
pub(super) fn all<'a>(rules: impl Iterator<Item = (&'a Rule, Option<&'a Obstacle>)>) -> BTreeSet<Vec<u8>> {
    let mut cues: BTreeSet<Vec<u8>> = PROTOCOLS.map(<[u8]>::to_vec).into();
    cues.extend(escapes());
    for (rule, obstacle) in rules {
        for literal in found_by(rule).map(|found_by| found_by.literal) {
            cues.extend(codes(literal.get(..CODED).unwrap_or(literal)));
            cues.extend(obstacle.map(|_| literal.to_vec()));
        }
    }
    cues
}

/// Escapes of letters, digits and what else no encoder touches (RFC 3986, 2.3; RFC 8259, 7).
fn escapes() -> impl Iterator<Item = Vec<u8>> {
    let unreserved = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    let percent =
        (0..=u8::MAX).filter(unreserved).flat_map(|byte| [format!("%{byte:02X}"), format!("%{byte:02x}")]);
    let json = ('2'..='7').map(|high| format!("\\u00{high}"));
    percent.chain(json).map(String::into_bytes)
}

/// What can be known of a literal's bytes in base64 and hexadecimal, wherever the text around begins.
fn codes(literal: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let base64 = [&b""[..], b".", b".."].map(|before| {
        let padded = [before, literal].concat();
        // A character is known if all of its six bits are.
        let (first, end) = ((before.len() * 8).div_ceil(6), padded.len() * 8 / 6);
        BASE64.encode(&padded).into_bytes().get(first..end).unwrap_or_default().to_vec()
    });
    let url_safe = |code: Vec<u8>| {
        let other = code.iter().map(|byte| match byte {
            b'+' => b'-',
            b'/' => b'_',
            other => *other,
        });
        [other.collect(), code]
    };
    let hex = [HEXLOWER.encode(literal), HEXUPPER.encode(literal)].map(String::into_bytes);
    base64.into_iter().flat_map(url_safe).chain(hex).filter(|code| code.len() >= SHORTEST_CODE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_found_wherever_the_text_around_begins() {
        let codes: Vec<Vec<u8>> = codes(b"ghp_Ab").collect();
        for before in 0..6 {
            let text = [&b"......"[..before], b"ghp_Ab.more"].concat();
            for written in [BASE64.encode(&text), HEXLOWER.encode(&text), HEXUPPER.encode(&text)] {
                let seen =
                    codes.iter().any(|code| written.as_bytes().windows(code.len()).any(|part| part == code));
                assert!(seen, "{written}");
            }
        }
    }

    #[test]
    fn short_codes_are_no_cues() {
        assert!(codes(b"sk-").all(|code| code.len() >= SHORTEST_CODE));
        assert!(codes(b"sk-").any(|code| code == b"c2st"));
    }

    #[test]
    fn what_encoders_escape_is_no_cue() {
        let all: BTreeSet<Vec<u8>> = escapes().collect();
        assert!(all.contains(&b"%41"[..]) && all.contains(&b"%2d"[..]) && all.contains(&b"%7A"[..]));
        for ordinary in ["%20", "%3A", "%3a", "%2F", "%40", "%C3", "\\u00e"] {
            assert!(!all.contains(ordinary.as_bytes()), "{ordinary}");
        }
    }
}
