//! Registered values are found in every form, wherever the bytes are cut, and nothing else is.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests assert by panicking")]

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use keymoat_detect::{Exact, Form, Registry, Rule, RuleSet, Severity, Trail, is_home, redacted};
use proptest::prelude::*;
use std::sync::LazyLock;

/// With everything that some form escapes.
const PASSWORD: &str = "x9Kq/2+Lm\"Pz\\7?wé-Tq";
const TOKEN: &str = "q7Zr0WxkT4vN9bYdLh2sJcEa";
/// Starts as the token does.
const OTHER: &str = "q7Zr0WxkZZtop42-8842-ab";
/// Lies inside the token.
const INNER: &str = "4vN9bYdLh2";

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
    let mut builder = Registry::builder();
    for (name, value) in [("password", PASSWORD), ("token", TOKEN), ("other", OTHER), ("inner", INNER)] {
        builder.add(name, value.as_bytes()).unwrap();
    }
    builder.build()
});

type Found = (String, Form, u64, u64, Vec<u8>);

fn record(found: &mut Vec<Found>) -> impl FnMut(Exact<'_>) + '_ {
    |exact| found.push((exact.name.to_owned(), exact.form, exact.start, exact.end, exact.secret.to_vec()))
}

fn scan(text: &[u8]) -> Vec<Found> {
    let mut found = Vec::new();
    REGISTRY.scan(text, &mut record(&mut found));
    found
}

fn in_chunks<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Found> {
    let (mut found, mut trail) = (Vec::new(), Trail::default());
    for chunk in chunks {
        assert_eq!(REGISTRY.push(&mut trail, chunk, &mut record(&mut found)), 0);
    }
    found
}

/// The password as it would travel in each form, and the part of it that is certain.
fn forms() -> Vec<(Form, String)> {
    let value = PASSWORD.as_bytes();
    let behind = |lead: &str| [lead.as_bytes(), value, b"!"].concat();
    vec![
        (Form::Raw, PASSWORD.to_owned()),
        (Form::Base64, BASE64.encode(&behind(""))),
        (Form::Base64, BASE64.encode(&behind("a"))),
        (Form::Base64, BASE64.encode(&behind("ab"))),
        (Form::Base64Url, BASE64URL_NOPAD.encode(&behind("abc"))),
        (Form::Hex, HEXLOWER.encode(value)),
        (Form::Hex, HEXUPPER.encode(value)),
        (Form::Percent, "x9Kq%2F2%2BLm%22Pz%5C7%3Fw%C3%A9-Tq".to_owned()),
        (Form::Percent, "x9Kq/2%2bLm%22Pz%5c7%3fw%c3%a9-Tq".to_owned()),
        (Form::Json, "x9Kq/2+Lm\\\"Pz\\\\7?wé-Tq".to_owned()),
        (Form::Json, "x9Kq\\/2+Lm\\\"Pz\\\\7?w\\u00e9-Tq".to_owned()),
    ]
}

#[test]
fn every_form_is_found_and_leads_to_the_same_value() {
    for (form, text) in forms() {
        let found = scan(format!("POST / HTTP/1.1\r\n\r\np={text}&x").as_bytes());
        let [(name, found_form, start, end, secret)] = found.as_slice() else {
            panic!("{form:?}: {found:?}")
        };
        assert_eq!((name.as_str(), *found_form, secret.as_slice()), ("password", form, PASSWORD.as_bytes()));
        assert!(*start >= 21 && *end <= 21 + text.len() as u64, "{form:?}");
        if !matches!(form, Form::Base64 | Form::Base64Url) {
            assert_eq!((*start, *end), (21, 21 + text.len() as u64), "{form:?}");
        }
    }
}

#[test]
fn one_byte_off_is_another_value() {
    for (form, text) in forms() {
        let exact = scan(text.as_bytes());
        let (start, end) = (exact[0].2 as usize, exact[0].3 as usize);
        for place in start..end {
            let mut other = text.clone().into_bytes();
            other[place] = if other[place] == b'z' { b'y' } else { b'z' };
            assert_eq!(scan(&other), [], "{form:?}, byte {place}");
        }
        assert_eq!(scan(&text.as_bytes()[..end - 1]), [], "{form:?}, one short");
        assert_eq!(scan(&text.as_bytes()[start + 1..]), [], "{form:?}, one short");
    }
}

#[test]
fn values_in_values_and_with_a_common_beginning_are_told_apart() {
    let names = |text: &str| -> Vec<String> { scan(text.as_bytes()).into_iter().map(|f| f.0).collect() };
    assert_eq!(names(TOKEN), ["inner", "token"]);
    assert_eq!(names(OTHER), ["other"]);
    assert_eq!(names(INNER), ["inner"]);
    assert_eq!(names(&format!("{TOKEN}{OTHER}{TOKEN}")), ["inner", "token", "other", "inner", "token"]);
}

#[test]
fn a_value_cut_anywhere_is_found_when_its_last_byte_comes() {
    for (_, text) in forms() {
        let text = format!("a={text} {TOKEN}");
        let whole = scan(text.as_bytes());
        assert_eq!(whole.len(), 3);
        for at in 0..=text.len() {
            let (first, second) = text.as_bytes().split_at(at);
            assert_eq!(in_chunks([first, second]), whole, "cut at {at}");
        }
        assert_eq!(in_chunks(text.as_bytes().chunks(1)), whole);
    }
}

#[test]
fn nothing_is_joined_across_a_gap() {
    let (first, second) = TOKEN.as_bytes().split_at(12);
    let (mut found, mut trail) = (Vec::new(), Trail::default());
    REGISTRY.push(&mut trail, first, &mut record(&mut found));
    trail.gap(1000);
    REGISTRY.push(&mut trail, second, &mut record(&mut found));
    assert_eq!(found, []);
    REGISTRY.push(&mut trail, OTHER.as_bytes(), &mut record(&mut found));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].2, 1000 + TOKEN.len() as u64, "offsets go on counting");
    // Seven bytes before a gap and one after it are no beginning.
    let (mut found, mut trail) = (Vec::new(), Trail::default());
    REGISTRY.push(&mut trail, &OTHER.as_bytes()[..7], &mut record(&mut found));
    trail.gap(0);
    REGISTRY.push(&mut trail, &OTHER.as_bytes()[7..], &mut record(&mut found));
    assert_eq!(found, []);
}

#[test]
fn a_flow_survives_another_registry() {
    let empty = Registry::builder().build();
    let (mut found, mut trail) = (Vec::new(), Trail::default());
    REGISTRY.push(&mut trail, &TOKEN.as_bytes()[..12], &mut record(&mut found));
    empty.push(&mut trail, b"nothing", &mut record(&mut found));
    REGISTRY.push(&mut trail, &TOKEN.as_bytes()[12..], &mut record(&mut found));
    REGISTRY.push(&mut trail, OTHER.as_bytes(), &mut record(&mut found));
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].0.as_str(), found[0].2), ("other", TOKEN.len() as u64 + 7));
}

#[test]
fn a_value_that_overlaps_itself_is_found_once() {
    let value = "q7Zr-Kx9-q7Zr-Kx9-q7Zr";
    let mut builder = Registry::builder();
    builder.add("twice", value.as_bytes()).unwrap();
    builder.add("the same again", value.as_bytes()).unwrap();
    let registry = builder.build();
    assert_eq!(registry.len(), 1);
    let mut found = Vec::new();
    registry.scan("q7Zr-Kx9-".repeat(10).as_bytes(), &mut |exact| found.push((exact.start, exact.end)));
    assert_eq!(found, [(0, 22), (27, 49), (54, 76)]);
}

/// Tokens of one issuer begin alike: a flow follows 256 of them and says what it gave up.
#[test]
fn what_a_flow_can_hold_is_bounded_and_what_is_given_up_is_said() {
    let header = "eyJhbGciOiJSUzI1NiJ9.";
    let mut builder = Registry::builder();
    for n in 0..300 {
        builder.add("token", format!("{header}{n:03}q7Zr0WxkT4vN9bYd").as_bytes()).unwrap();
    }
    let registry = builder.build();
    let (mut count, mut trail) = (0, Trail::default());
    assert_eq!(registry.push(&mut trail, header.as_bytes(), &mut |_| count += 1), 44);
    assert_eq!(registry.push(&mut trail, b"007q7Zr0WxkT4vN9bYd", &mut |_| count += 1), 0);
    assert_eq!(count, 1);
    assert!(std::mem::size_of::<Trail>() <= 96);
}

#[test]
fn it_is_a_finding_of_a_rule_that_can_be_looked_up() {
    let mut rules = RuleSet::builtin().unwrap();
    rules.merge(RuleSet::registered()).unwrap();
    let known: &Rule = rules.get("registered-value").unwrap();
    assert_eq!(known.severity, Severity::High);
    assert!(!is_home(known, "localhost") && known.home.is_empty());
    REGISTRY.scan(TOKEN.as_bytes(), &mut |exact| {
        assert_eq!(exact.rule.id, known.id);
        assert_eq!(redacted(exact.rule, exact.secret), format!("…({})", exact.secret.len()));
    });
}

#[test]
fn no_value_is_ever_shown() {
    let hidden = |shown: String| {
        for value in [PASSWORD, TOKEN, OTHER, INNER] {
            assert!(!shown.contains(&value[..6]), "{shown}");
        }
    };
    let mut builder = Registry::builder();
    builder.add("token", TOKEN.as_bytes()).unwrap();
    hidden(format!("{builder:?}"));
    hidden(format!("{:?}", *REGISTRY));
    let mut trail = Trail::default();
    REGISTRY.push(&mut trail, &TOKEN.as_bytes()[..15], &mut |_| {});
    hidden(format!("{trail:?}"));
    let text = forms().into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(" ") + TOKEN;
    REGISTRY.scan(text.as_bytes(), &mut |exact| hidden(format!("{exact:?}")));
}

fn piece() -> impl Strategy<Value = Vec<u8>> {
    let all: Vec<String> = forms().into_iter().map(|(_, text)| text).collect();
    let values = [TOKEN, OTHER, INNER, PASSWORD];
    prop_oneof![
        3 => prop::sample::select(all.clone()).prop_map(String::into_bytes),
        3 => prop::sample::select(values.to_vec()).prop_map(|value| value.as_bytes().to_vec()),
        // Cut short, or without their beginning.
        2 => (prop::sample::select(all), 0..30usize).prop_map(|(text, n)| text.bytes().take(n).collect()),
        2 => (prop::sample::select(values.to_vec()), 0..20usize).prop_map(|(text, n)| text.bytes().skip(n).collect()),
        2 => "[A-Za-z0-9+/%\\\\]{0,12}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_cutting_gives_the_same(
        pieces in prop::collection::vec(piece(), 0..10),
        cuts in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        let text = pieces.concat();
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).collect();
        at.extend([0, text.len()]);
        at.sort_unstable();
        prop_assert_eq!(in_chunks(at.windows(2).map(|pair| &text[pair[0]..pair[1]])), scan(&text));
    }

    /// Against the plainest search there is. An encoded form that ends with the first letter of a value behind it takes that letter.
    #[test]
    fn all_that_is_there_is_found(pieces in prop::collection::vec(piece(), 0..10)) {
        let text = pieces.concat();
        let found = scan(&text);
        for (name, value) in [("token", TOKEN), ("other", OTHER), ("inner", INNER), ("password", PASSWORD)] {
            let places = (0..text.len()).filter(|at| text[*at..].starts_with(value.as_bytes()));
            let taken = |at: usize| {
                let overlaps = |(_, form, start, end, _): &Found| {
                    *form != Form::Raw && *start < (at + value.len()) as u64 && (at as u64) < *end
                };
                found.iter().any(overlaps)
            };
            let (taken, free): (Vec<usize>, Vec<usize>) = places.partition(|at| taken(*at));
            let raw = found.iter().filter(|(of, form, ..)| of == name && *form == Form::Raw).count();
            prop_assert!((free.len()..=free.len() + taken.len()).contains(&raw), "{}: {} times", name, raw);
        }
        for (_, form, start, end, _) in &found {
            prop_assert!(*form != Form::Raw || text[*start as usize..*end as usize].len() as u64 == end - start);
        }
    }
}
