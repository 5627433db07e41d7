//! Where in HTTP/1.1 a key is found.

use super::*;

/// Locations found when these bytes are one write, and then the connection is closed.
fn locations(bytes: impl AsRef<[u8]>) -> Vec<String> {
    let mut rig = Rig::new();
    rig.write(&mut Conn::tcp(1), bytes);
    rig.close(1);
    rig.locations()
}

fn post(body: &str) -> String {
    format!("POST /v1 HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn each_place_of_a_request_is_named() {
    let k = key(1);
    assert_eq!(locations(format!("GET / HTTP/1.1\r\nX-Api-Key: {k}\r\n\r\n")), ["header:x-api-key"]);
    let bearer = format!("GET / HTTP/1.1\r\nAuthorization: Bearer {k}\r\n\r\n");
    assert_eq!(locations(bearer), ["header:authorization"]);
    assert_eq!(locations(format!("GET /?a=1&key={k}&b=2 HTTP/1.1\r\n\r\n")), ["query:key"]);
    assert_eq!(locations(format!("GET /x/{k}/y HTTP/1.1\r\n\r\n")), ["path"]);
    assert_eq!(locations(post(&format!("{{\"k\":\"{k}\"}}"))), ["body > json:k"]);
    assert_eq!(locations(post(&format!("k={k}"))), ["body"]);
    let response = format!("HTTP/1.1 200 OK\r\nSet-Cookie: {k}\r\nContent-Length: 110\r\n\r\n  {}", key(2));
    assert_eq!(locations(response), ["response-header:set-cookie", "response-body"]);
    assert_eq!(locations(format!("hello {k}")), ["stream"]);
}

#[test]
fn requests_without_a_key_find_nothing() {
    for clean in ["GET /?q=1 HTTP/1.1\r\nHost: a\r\n\r\n", &post("{\"a\":1}"), "hello", "", "\r\n\r\n", "%"] {
        assert!(locations(clean).is_empty(), "{clean:?}");
    }
}

#[test]
fn pipelined_requests_each_count() {
    let one = format!("GET /?key={} HTTP/1.1\r\n\r\n", key(1));
    let two = post(&key(2));
    let three = format!("GET / HTTP/1.1\r\nX-Api-Key: {}\r\n\r\n", key(3));
    assert_eq!(locations([one, two, three].concat()), ["query:key", "body", "header:x-api-key"]);
}

#[test]
fn a_key_split_by_chunk_framing_is_found() {
    let k = key(1);
    for at in 1..k.len() {
        let (a, b) = k.split_at(at);
        let body = format!("{:x}\r\n{a}\r\n{:x};ext=1\r\n{b}\r\n0\r\n\r\n", a.len(), b.len());
        let request = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        assert_eq!(locations(request), ["body"], "split at {at}");
    }
}

#[test]
fn chunk_extensions_and_trailers_are_looked_at() {
    let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(locations(format!("{head}1;x={}\r\na\r\n0\r\n\r\n", key(1))), ["body"]);
    assert_eq!(locations(format!("{head}1\r\na\r\n0\r\nX-End: {}\r\n\r\n", key(1))), ["header:x-end"]);
    assert_eq!(locations(format!("{head}nonsense {}\r\n", key(1))), ["stream"]);
}

#[test]
fn a_percent_encoded_key_is_found_once() {
    let k = key(1);
    let all: String = k.bytes().map(|b| format!("%{b:02x}")).collect();
    let some = k.replace('-', "%2D");
    let tail = k.replace("AA", "A%41");
    for encoded in [all, some, tail] {
        assert_eq!(locations(format!("GET /?k%65y={encoded} HTTP/1.1\r\n\r\n")), ["query:key"]);
        assert_eq!(locations(format!("GET /{encoded} HTTP/1.1\r\n\r\n")), ["path"]);
    }
    let beside = format!("GET /?a=%20{k}%20 HTTP/1.1\r\n\r\n");
    assert_eq!(locations(beside), ["query:a"]);
}

#[test]
fn a_key_used_as_a_name_is_not_shown_by_the_place() {
    let k = key(1);
    assert_eq!(locations(format!("GET /?{k}=1 HTTP/1.1\r\n\r\n")), ["query"]);
    assert_eq!(locations(format!("GET / HTTP/1.1\r\n{k}: 1\r\n\r\n")), ["header"]);
    let places = locations(format!("GET /?{k}={} HTTP/1.1\r\n\r\n", key(2)));
    assert_eq!(places.len(), 2);
    assert!(places.iter().all(|place| !place.contains("aB3-_")), "{places:?}");
}

#[test]
fn a_key_in_the_host_is_not_shown_by_the_destination() {
    let mut rig = Rig::new();
    let token = ["AKIA", "QRSTUVWXYZ234567"].concat();
    rig.write(&mut Conn::tcp(1), format!("GET /?k={} HTTP/1.1\r\nHost: {token}.a.test\r\n\r\n", key(1)));
    let findings = rig.findings();
    assert!(!findings.is_empty());
    for finding in findings {
        let text = serde_json::to_string(&finding).unwrap().to_ascii_lowercase();
        assert!(!text.contains(&token.to_ascii_lowercase()), "{text}");
    }
}

#[test]
fn bodies_without_a_length_last_until_the_end() {
    let k = key(1);
    assert_eq!(locations(format!("HTTP/1.1 200 OK\r\n\r\nhello {k}")), ["response-body"]);
    assert_eq!(locations(format!("POST / HTTP/1.0\r\n\r\nhello {k}")), ["body"]);
}

#[test]
fn answers_without_a_body_do_not_hide_the_next_one() {
    let mut rig = Rig::new();
    let mut conn = Conn::tcp(1);
    conn.tuple.flags |= tuple_flags::ACCEPTED;
    rig.write(&mut conn, "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n");
    rig.write(
        &mut conn,
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
    );
    rig.write(&mut conn, format!("HTTP/1.1 200 OK\r\nX-Key: {}\r\nContent-Length: 0\r\n\r\n", key(1)));
    assert_eq!(rig.locations(), ["response-header:x-key"]);
}

#[test]
fn after_an_upgrade_it_is_a_stream_unless_it_is_http() {
    let upgrade = "GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(locations(format!("{upgrade}\u{1}\u{2}{}", key(1))), ["stream"]);
    assert_eq!(locations(format!("{upgrade}GET /?k={} HTTP/1.1\r\n\r\n", key(1))), ["query:k"]);
}

#[test]
fn a_proxy_tunnel_leads_to_the_name_in_the_hello_behind_it() {
    let mut rig = Rig::new();
    let mut conn = Conn::tcp(1);
    rig.write(&mut conn, "CONNECT api.anthropic.com:443 HTTP/1.1\r\nHost: api.anthropic.com:443\r\n\r\n");
    rig.write_in(
        &mut conn,
        flags::CLIENT_HELLO,
        &crate::flow::tls::tests::hello(Some(HOME), 16_384),
        usize::MAX,
    );
    let mut tls = Conn::tls(0x10);
    rig.write(&mut tls, format!("GET / HTTP/1.1\r\nX-Api-Key: {}\r\n\r\n", key(1)));
    rig.link(&mut tls, 1, REMOTE);
    let findings = rig.findings();
    assert_eq!(findings[0].action, Action::Allowed);
    assert_eq!(findings[0].destination.host_source.as_deref(), Some("sni"));
}

#[test]
fn http2_is_named_and_looked_through() {
    let mut rig = Rig::new();
    rig.write(&mut Conn::tcp(1), format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0 {}", key(1)));
    rig.close(1);
    let findings = rig.findings();
    assert_eq!(findings[0].channel.protocol.as_deref(), Some("h2"));
    assert_eq!(findings[0].channel.location, "stream");
}

#[test]
fn a_request_cut_short_is_judged_when_nothing_more_comes() {
    let cut = [
        (format!("GET / HTTP/1.1\r\nX-Api-Key: {}", key(1)), "header:x-api-key"),
        (format!("GET /?key={}", key(1)), "query:key"),
        (format!("POST / HTTP/1.1\r\nContent-Length: 5000\r\n\r\n{}", key(1)), "body"),
        (format!("STRANGE {}", key(1)), "stream"),
    ];
    for (bytes, place) in cut {
        let mut rig = Rig::new();
        rig.write(&mut Conn::tcp(1), &bytes);
        assert!(rig.findings().is_empty(), "decided too early: {place}");
        rig.pass(100);
        assert_eq!(rig.locations(), [place]);
        rig.close(1);
        assert!(rig.taken().is_empty(), "said twice: {place}");
    }
}

#[test]
fn a_head_that_goes_on_after_a_pause_is_not_said_twice() {
    let mut rig = Rig::new();
    let mut conn = Conn::tcp(1);
    rig.write(&mut conn, format!("GET /?key={} HTTP/1.1\r\n", key(1)));
    rig.pass(100);
    rig.write(&mut conn, format!("X-Api-Key: {}\r\n", key(2)));
    rig.pass(100);
    rig.write(&mut conn, "\r\n");
    rig.close(1);
    assert_eq!(rig.locations(), ["query:key", "header:x-api-key"]);
    assert!(rig.repeats().is_empty());
}

#[test]
fn a_plain_http_request_names_its_host_and_is_in_the_clear() {
    let mut rig = Rig::new();
    rig.write(&mut Conn::tcp(1), format!("GET / HTTP/1.1\r\nHost: {HOME}\r\nX-Api-Key: {}\r\n\r\n", key(1)));
    let finding = rig.findings().remove(0);
    assert_eq!(finding.action, Action::Observed);
    assert_eq!(finding.channel.kind, ChannelKind::Tcp);
    assert_eq!(finding.channel.protocol.as_deref(), Some("http/1.1"));
    assert_eq!(finding.destination.host.as_deref(), Some(HOME));
    assert_eq!(finding.destination.host_source.as_deref(), Some("http-host"));
    assert_eq!(finding.destination.ip, Some("192.0.2.7".parse().unwrap()));
    assert_eq!((finding.process.pid, finding.process.comm.as_str()), (123, "curl"));
    assert_eq!(finding.process.uid, Some(1000));
    assert_eq!(finding.secret.length, key(1).len());
    assert!(finding.explanation.contains("not encrypted"), "{}", finding.explanation);
}
