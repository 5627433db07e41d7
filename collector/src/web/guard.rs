//! What protects a reader's browser.

use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::IpAddr;

const HEADERS: [(header::HeaderName, &str); 5] = [
    // No script runs here, whatever a finding contains.
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
];

/// Adds the headers every answer has.
pub(super) async fn headers(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// On loopback there is no password: a page elsewhere must not be able to reach this one by giving its own name the
/// address 127.0.0.1.
pub(super) async fn local_names_only(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).map(|host| host.to_str().unwrap_or("?"));
    if host.is_none_or(is_local_name) {
        return next.run(request).await;
    }
    (StatusCode::MISDIRECTED_REQUEST, "This collector answers to its address and to localhost only.\n")
        .into_response()
}

fn is_local_name(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::is_local_name;

    #[test]
    fn addresses_and_localhost_are_local_names() {
        for host in ["127.0.0.1", "127.0.0.1:80", "localhost:7480", "LOCALHOST", "[::1]:80", "[::1]"] {
            assert!(is_local_name(host), "{host}");
        }
        for host in ["example.com", "localhost.example.com:80", "", "127.0.0.1.example.com", "[x]"] {
            assert!(!is_local_name(host), "{host}");
        }
    }
}
