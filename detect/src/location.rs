//! A location as text: a path, outside in. `body > gzip > json:env.KEY > base64` is base64 text in the field
//! `env.KEY` of the JSON in a compressed request body.
//!
//! The first step is a place of a message; the steps behind it lead into what stands there.

/// Stands between two steps. Names that senders choose cannot hold it: spaces in them are not shown.
pub const SEPARATOR: &str = " > ";

/// What a location can start with; `header`, `query` and `response-header` mostly with a name (`header:cookie`).
const PLACES: [&str; 10] = [
    "header",
    "query",
    "path",
    "body",
    "message",
    "stream",
    "datagram",
    "status-line",
    "response-header",
    "response-body",
];

/// The steps of a location. There is at least one.
pub fn steps(location: &str) -> impl Iterator<Item = &str> {
    location.split(SEPARATOR)
}

/// Is this a location that can occur?
pub fn is_location(location: &str) -> bool {
    let mut steps = steps(location);
    steps.next().is_some_and(|first| starts_with_place(first, |place, known| place == known))
        && steps.all(|step| !step.is_empty() && step.trim() == step)
}

/// Does a first step name a place, and no name where none can be? `same` compares a place with a known one.
pub(crate) fn starts_with_place(first: &str, same: impl Fn(&str, &str) -> bool) -> bool {
    let (place, name) = match first.split_once(':') {
        Some((place, name)) => (place, Some(name)),
        None => (first, None),
    };
    let named = |known: &str| known.ends_with("header") || known == "query";
    PLACES.iter().any(|known| same(place, known) && name.is_none_or(|name| !name.is_empty() && named(known)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_starts_with_a_place() {
        for good in [
            "body",
            "header:x-api-key",
            "query:key > percent",
            "body > gzip > json:env.KEY > base64",
            "response-header:set-cookie",
            "message > json:messages[0].content",
        ] {
            assert!(is_location(good), "{good}");
        }
        for bad in ["", "json:a", "body:x", "header:", "file", "body > ", "body >  > gzip", " > gzip"] {
            assert!(!is_location(bad), "{bad:?}");
        }
    }
}
