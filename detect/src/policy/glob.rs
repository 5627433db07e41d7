//! Patterns in which `*` stands for any text, also none and also with slashes in it. Nothing else is special.

/// Does the pattern describe all of the text?
pub fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
    // The earliest place of each part leaves the most room for the next.
    for part in middle.split('*') {
        let Some((_, after)) = text.split_once(part) else { return false };
        text = after;
    }
    text.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text) in [
            ("", ""),
            ("*", ""),
            ("*", "/usr/bin/curl"),
            ("**", "x"),
            ("/usr/bin/curl", "/usr/bin/curl"),
            ("/usr/*/curl", "/usr/local/bin/curl"),
            ("*/curl", "/usr/bin/curl"),
            ("a*b*c", "abbc"),
            ("a*bc*c", "abcbcc"),
            ("*ß*", "größe"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("", "x"),
            ("curl", "/usr/bin/curl"),
            ("*/curl", "/usr/bin/curl2"),
            ("/usr/bin/*", "/opt/usr/bin/x"),
            ("a*a", "a"),
            ("a*b*c", "acb"),
            ("ab*bc", "abc"),
            ("?", "x"),
            ("[a-z]", "b"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
