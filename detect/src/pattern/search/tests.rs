use super::*;

fn search(pattern: &str, change: impl FnOnce(&mut Settings)) -> Search {
    let mut settings = Settings {
        group: None,
        entropy: 0.0,
        keywords: Some(vec!["key".to_owned()]),
        allowlists: Vec::new(),
    };
    change(&mut settings);
    Search::new(&parse(pattern).unwrap(), settings).unwrap_or_else(|_| panic!("{pattern}"))
}

fn secrets<'a>(search: &Search, text: &'a str) -> Vec<&'a str> {
    let mut found = Vec::new();
    search.find(text.as_bytes(), 0..text.len(), |span| found.push(&text[span]));
    found
}

fn by_line(regex: &str) -> Vec<Arc<Allowlist>> {
    vec![Arc::new(Allowlist::new(false, Target::Line, &[parse(regex).unwrap()], &[]).unwrap())]
}

#[test]
fn the_secret_is_the_group_that_was_asked_for() {
    let text = "key(a)=12345 key(b)=67890";
    let pattern = r"key\((\w)\)=(\d+)";
    assert_eq!(secrets(&search(pattern, |s| s.group = Some(2)), text), ["12345", "67890"]);
    assert_eq!(secrets(&search(pattern, |_| {}), text), ["a", "b"], "the first group");
    assert_eq!(secrets(&search(r"key\(\w\)=\d+", |_| {}), text), ["key(a)=12345", "key(b)=67890"]);
    assert_eq!(
        secrets(&search(r"key()\((\w)\)", |_| {}), text),
        ["a", "b"],
        "the first group that is not empty"
    );
    assert!(
        secrets(&search(r"key(x)?\(\w\)", |s| s.group = Some(1)), text).is_empty(),
        "no group, no secret"
    );
    assert_eq!(secrets(&search(r"key(x)?\(\w\)", |_| {}), text), ["key(a)", "key(b)"]);
}

#[test]
fn a_group_that_is_not_there_and_a_regex_without_literal_are_refused() {
    let refused = |pattern, group| {
        let settings = Settings { group, entropy: 0.0, keywords: None, allowlists: Vec::new() };
        Search::new(&parse(pattern).unwrap(), settings).err()
    };
    assert!(matches!(refused("key(a)(b)", Some(3)), Some(Refusal::NoSuchGroup { groups: 2 })));
    assert!(refused("key(a)(b)", Some(2)).is_none());
    assert!(matches!(refused("[a-z]{32}", None), Some(Refusal::NoKeyword)));
    assert!(matches!(refused("key(?:[a-z]{1000}){1000}", None), Some(Refusal::Fault(Fault::TooLarge))));
}

#[test]
fn entropy_is_shannons() {
    assert_eq!(entropy(b""), 0.0);
    assert_eq!(entropy(b"aaaa"), 0.0);
    assert_eq!(entropy(b"abab"), 1.0);
    assert_eq!(entropy(b"abcdabcd"), 2.0);
    let all: Vec<u8> = (0..=255).collect();
    assert_eq!(entropy(&all), 8.0);
    assert!((entropy(b"1223334444") - 1.846_439_344_671_015_4).abs() < 1e-12);
}

#[test]
fn a_secret_needs_more_than_the_least_entropy() {
    let found = |least| secrets(&search("key=(.*)", |s| s.entropy = least), "key=abcdabcd").len();
    assert_eq!([found(0.0), found(1.9), found(2.0), found(2.1)], [1, 1, 0, 0]);
}

#[test]
fn what_stands_around_the_span_is_seen_but_not_searched() {
    let find = |pattern: &str, text: &str, span| {
        let mut found = 0;
        search(pattern, |_| {}).find(text.as_bytes(), span, |_| found += 1);
        found
    };
    assert_eq!(find(r"\bkey", "xkey key", 1..4), 0);
    assert_eq!(find(r"\bkey", "xkey key", 1..8), 1);
    assert_eq!(find("key$", "keys", 0..3), 0);
    assert_eq!(find("key$", "key", 0..3), 1);
    assert_eq!(find("^key", "xkey", 1..4), 0);
}

#[test]
fn the_line_ends_at_line_breaks_and_after_a_bound() {
    let ranges = |text: &str, at: usize, len: usize| line(text.as_bytes(), &(at..at + len));
    assert_eq!(ranges("one\ntwo\nsix", 4, 1), 4..7);
    assert_eq!(ranges("one\ntwo\nsix", 5, 3), 4..11, "a match over two lines stands on both");
    assert_eq!(ranges("one", 1, 1), 0..3);
    let long = "x".repeat(5000);
    assert_eq!(ranges(&long, 2000, 10), 2000 - LINE..2010 + LINE);
}

#[test]
fn an_allowlist_sees_no_other_line() {
    let with = search(r"key=(\d+)", |s| s.allowlists = by_line("pragma"));
    assert_eq!(with.reach.margin, LINE as u64);
    assert_eq!(secrets(&with, "key=1 pragma\nkey=2\n# pragma"), ["2"]);
    assert_eq!(search("key", |_| {}).reach.margin, 1);
}

#[test]
fn line_breaks_around_a_match_are_not_part_of_it() {
    assert_eq!(secrets(&search(r"\s*key\d\s*", |_| {}), "\n\nkey1\n\nkey2 \n"), ["key1", "key2 "]);
    assert!(secrets(&search(r"\n+", |_| {}), "\n\n").is_empty());
}

#[test]
fn the_reach_is_the_longest_match_within_limits() {
    let reach = |pattern| search(pattern, |_| {}).reach;
    assert_eq!(reach("key[a-z]{20}"), Reach { before: 23, after: 23, spread: 23, margin: 1 });
    let most = Reach { before: 1024, after: 4096, spread: 2048, margin: 1 };
    assert_eq!(reach("key[a-z]+"), most);
    assert_eq!(reach("key[a-z]{9999}"), most);
}
