//! A JSON Web Token says who made it and for whom.
//!
//! Three parts in base64url: a header with the algorithm, claims, a signature (RFC 7519, RFC 7515 section 7.1).

use super::{Fact, Outcome, Secret};
use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::borrow::Cow;
use zeroize::Zeroizing;

/// Audiences that are named; the next ones are not.
const MAX_AUDIENCES: usize = 4;

pub(super) fn check(secret: &Secret<'_>, facts: &mut Vec<Fact>) -> Outcome {
    match read(secret.whole) {
        Some(read) => {
            facts.extend(read);
            Outcome::Proven("it is a JSON Web Token inside")
        }
        None => Outcome::Doubtful("it is no JSON Web Token inside"),
    }
}

#[derive(Deserialize)]
struct Header<'a> {
    #[serde(borrow, rename = "alg")]
    _alg: Cow<'a, str>,
}

/// Whatever else the claims say is not looked at.
#[derive(Deserialize)]
struct Claims<'a> {
    #[serde(borrow)]
    iss: Option<Text<'a>>,
    #[serde(borrow)]
    aud: Option<Audience<'a>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Text<'a> {
    Text(#[serde(borrow)] Cow<'a, str>),
    Other(IgnoredAny),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience<'a> {
    One(#[serde(borrow)] Cow<'a, str>),
    Many(#[serde(borrow)] Vec<Cow<'a, str>>),
    Other(IgnoredAny),
}

/// What the token says about itself; None if it is none.
fn read(secret: &[u8]) -> Option<Vec<Fact>> {
    // Some vendors put a prefix of theirs before it: `ghs_123_eyJ…`.
    let start = secret.windows(3).position(|three| three == b"eyJ")?;
    let mut parts = secret.get(start..)?.split(|&byte| byte == b'.');
    let (header, claims, signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || signature.is_empty() {
        return None;
    }
    let header = decoded(header)?;
    serde_json::from_slice::<Header<'_>>(&header).ok()?;
    let claims = decoded(claims)?;
    serde_json::from_slice::<Claims<'_>>(&claims).ok().map(facts)
}

fn facts(claims: Claims<'_>) -> Vec<Fact> {
    let mut facts = Vec::new();
    if let Some(Text::Text(issuer)) = claims.iss {
        facts.push(Fact::new("iss", &issuer));
    }
    let audiences = match claims.aud {
        Some(Audience::One(one)) => vec![one],
        Some(Audience::Many(many)) => many,
        Some(Audience::Other(_)) | None => Vec::new(),
    };
    facts.extend(audiences.iter().take(MAX_AUDIENCES).map(|audience| Fact::new("aud", audience)));
    facts
}

fn decoded(part: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    BASE64URL_NOPAD.decode(part).ok().map(Zeroizing::new)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests assert by panicking")]
mod tests {
    use super::*;

    fn token(header: &str, claims: &str) -> String {
        let encode = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
        format!("{}.{}.{}", encode(header), encode(claims), encode("a signature"))
    }

    fn said(token: &str) -> Option<Vec<(&'static str, String)>> {
        let facts = read(token.as_bytes())?;
        Some(facts.into_iter().map(|fact| (fact.name, fact.value)).collect())
    }

    #[test]
    fn a_token_names_its_issuer_and_audience() {
        let one = token(r#"{"alg":"RS256"}"#, r#"{"sub":"x","iss":"https://id.example","aud":"api"}"#);
        let expected = vec![("iss", "https://id.example".to_owned()), ("aud", "api".to_owned())];
        assert_eq!(said(&one), Some(expected.clone()));
        assert_eq!(said(&format!("ghs_123_{one}")), Some(expected));
        let many = token(r#"{"alg":"none"}"#, r#"{"aud":["a","b","c","d","e"],"iss":7}"#);
        assert_eq!(said(&many).unwrap().len(), MAX_AUDIENCES);
        assert_eq!(said(&token(r#"{"alg":"none"}"#, "{}")), Some(Vec::new()));
    }

    #[test]
    fn what_only_looks_like_a_token_is_none() {
        let good = token(r#"{"alg":"RS256"}"#, "{}");
        for bad in [
            token(r#"{"typ":"JWT"}"#, "{}"),
            token(r#"{"alg":7}"#, "{}"),
            token(r#"{"alg":"RS256"}"#, "not json"),
            token(r#"{"alg":"RS256""#, "{}"),
            format!("{good}.eyJ"),
            good.rsplit_once('.').unwrap().0.to_owned(),
            format!("{}.", good.rsplit_once('.').unwrap().0),
            "eyJ".to_owned(),
            String::new(),
        ] {
            assert_eq!(said(&bad), None, "{bad}");
        }
    }

    #[test]
    fn what_a_token_says_is_bounded_and_harmless() {
        let long = "\u{1b}[2J".to_owned() + &"x".repeat(3000);
        let claims = format!("{{\"iss\":{}}}", serde_json::to_string(&long).unwrap());
        let facts = said(&token(r#"{"alg":"RS256"}"#, &claims)).unwrap();
        let (_, value) = facts.first().unwrap();
        assert!(value.len() == 128 && value.starts_with("?[2Jxxx"), "{value}");
    }
}
