//! Where a key belongs: hosts, and places in a message.

use crate::location;
use crate::rules::Rule;

/// Is this host one of the rule's own? `host` may carry a port or a final dot; case does not matter.
pub fn is_home(rule: &Rule, host: &str) -> bool {
    let host = bare(host).to_ascii_lowercase();
    rule.home.iter().any(|pattern| host_matches(pattern, &host))
}

/// Is this where such a key is sent when all is well? `location` is a [path](location) that starts with
/// `header:<name>`, `query:<name>`, `path`, `body` or `stream`.
///
/// A key that travels in a body is a field of it, so `body` is everything in the body. In any other place, only what
/// is written another way there (`Authorization: Basic`, escapes in a query) is still the same place.
pub fn is_usual(rule: &Rule, location: &str) -> bool {
    let mut steps = location::steps(location);
    let place = steps.next().unwrap_or_default();
    let same_place = place == "body" || steps.all(|step| matches!(step, "base64" | "percent"));
    same_place && rule.usual.iter().any(|usual| usual.eq_ignore_ascii_case(place))
}

/// The name without port and final dot. An IPv6 literal has more than one colon and is left alone.
pub(crate) fn bare(host: &str) -> &str {
    let name = match host.split_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    name.strip_suffix('.').unwrap_or(name)
}

/// `*.example.com` is every host below example.com, not example.com itself; `*` elsewhere stays within its
/// label, so that no pattern can reach into somebody else's domain.
pub(crate) fn host_matches(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(rest) => {
            let below = host.match_indices('.').map(|(dot, _)| (host.get(..dot), host.get(dot + 1..)));
            below.into_iter().any(|(name, parent)| {
                name.is_some_and(|name| !name.is_empty())
                    && parent.is_some_and(|parent| labels_match(rest, parent))
            })
        }
        None => labels_match(pattern, host),
    }
}

fn labels_match(pattern: &str, host: &str) -> bool {
    let mut patterns = pattern.split('.');
    let mut labels = host.split('.');
    loop {
        match (patterns.next(), labels.next()) {
            (None, None) => return true,
            (Some(pattern), Some(label)) if label_matches(pattern, label) => {}
            _ => return false,
        }
    }
}

fn label_matches(pattern: &str, label: &str) -> bool {
    match pattern.split_once('*') {
        Some((head, tail)) => {
            label.len() >= head.len() + tail.len() && label.starts_with(head) && label.ends_with(tail)
        }
        None => pattern == label,
    }
}

/// What a rule may name as home. The last two labels are literal: `*.com` is nobody's home.
pub(crate) fn is_host_pattern(pattern: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.matches('*').count() <= 1
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'*')
    };
    let labels: Vec<&str> = pattern.split('.').collect();
    labels.len() >= 2
        && labels.iter().all(|text| label(text))
        && labels.iter().rev().take(2).all(|text| !text.contains('*'))
}

/// What a rule may name as usual place.
pub(crate) fn is_location(location: &str) -> bool {
    let named = location.strip_prefix("header:").or_else(|| location.strip_prefix("query:"));
    match named {
        Some(name) => {
            !name.is_empty() && !name.bytes().any(|b| b.is_ascii_uppercase() || b.is_ascii_whitespace())
        }
        None => matches!(location, "path" | "body" | "stream"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_in_front_means_everything_below() {
        assert!(host_matches("*.anthropic.com", "api.anthropic.com"));
        assert!(host_matches("*.anthropic.com", "eu.api.anthropic.com"));
        assert!(!host_matches("*.anthropic.com", "anthropic.com"));
        assert!(!host_matches("*.anthropic.com", ".anthropic.com"));
        assert!(!host_matches("*.anthropic.com", "api.anthropic.com.evil.example"));
        assert!(!host_matches("*.anthropic.com", "notanthropic.com"));
        assert!(!host_matches("api.anthropic.com", "x.api.anthropic.com"));
    }

    #[test]
    fn a_star_inside_stays_within_its_label() {
        assert!(host_matches("bedrock*.us-east-1.amazonaws.com", "bedrock-runtime.us-east-1.amazonaws.com"));
        assert!(host_matches("*.appsync-api.*.amazonaws.com", "abc.appsync-api.eu-west-1.amazonaws.com"));
        assert!(!host_matches("*.appsync-api.*.amazonaws.com", "abc.appsync-api.a.b.amazonaws.com"));
        assert!(!host_matches("a*.example.com", "a.evil.example.com"));
    }

    #[test]
    fn ports_dots_and_case_do_not_matter() {
        assert_eq!(bare("api.example.com:443"), "api.example.com");
        assert_eq!(bare("api.example.com."), "api.example.com");
        assert_eq!(bare("2001:db8::1"), "2001:db8::1");
    }

    #[test]
    fn patterns_that_reach_too_far_are_refused() {
        for good in ["api.anthropic.com", "*.x.ai", "bedrock*.amazonaws.com", "claude.ai"] {
            assert!(is_host_pattern(good), "{good}");
        }
        for bad in [
            "*",
            "*.com",
            "com",
            "a.*",
            "api.*.com",
            "",
            "a..b",
            "API.x.com",
            "https://x.com",
            "x.com:443",
            "x*.com",
        ] {
            assert!(!is_host_pattern(bad), "{bad}");
        }
    }

    #[test]
    fn only_another_spelling_leaves_a_key_in_its_place() {
        let rules = crate::RuleSet::builtin().unwrap();
        let key = rules.get("anthropic-api-key").unwrap();
        for usual in
            ["header:x-api-key", "header:Authorization > base64", "header:authorization > percent > base64"]
        {
            assert!(is_usual(key, usual), "{usual}");
        }
        for other in [
            "body",
            "body > header:x-api-key",
            "message",
            "header:authorization > gzip",
            "header:cookie > base64",
            "query:key",
            "",
            "base64",
        ] {
            assert!(!is_usual(key, other), "{other}");
        }
        let in_body = rules.rules().iter().find(|rule| rule.usual == ["body"]).unwrap();
        assert!(is_usual(in_body, "body > gzip > json:refresh_token"));
        assert!(!is_usual(in_body, "message > json:refresh_token") && !is_usual(in_body, "response-body"));
    }

    #[test]
    fn locations_are_written_one_way() {
        assert!(is_location("header:x-api-key") && is_location("query:key") && is_location("path"));
        assert!(!is_location("header:") && !is_location("X-Api-Key") && !is_location("header:X-Api-Key"));
    }
}
