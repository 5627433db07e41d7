//! Whatever the bytes are and however they are cut, the kernel's matcher says what the full engine says.

use super::*;

fn piece() -> impl Strategy<Value = Vec<u8>> {
    let keys = builtin_keys();
    let (count, near, whole) = (keys.len(), keys.clone(), keys.clone());
    let negatives: Vec<String> = BUILTIN.decided().flat_map(|rule| rule.negatives.clone()).collect();
    let literals: Vec<String> = BUILTIN
        .decided()
        .flat_map(|rule| {
            let markers = rule.marker.iter().flat_map(|marker| &marker.texts);
            rule.prefixes.iter().chain(&rule.context).chain(markers).cloned()
        })
        .collect();
    prop_oneof![
        3 => (0..count).prop_map(move |i| whole[i].clone().into_bytes()),
        // Incomplete keys, and keys with one byte changed.
        2 => (0..count, 0..60usize).prop_map(move |(i, n)| keys[i].bytes().take(n).collect()),
        2 => (0..count, any::<usize>(), any::<u8>()).prop_map(move |(i, at, byte)| {
            let mut key = near[i].clone().into_bytes();
            let at = at % key.len();
            key[at] = byte;
            key
        }),
        1 => prop::sample::select(negatives).prop_map(String::into_bytes),
        1 => prop::sample::select(literals).prop_map(String::into_bytes),
        2 => "[A-Za-z0-9_+/=-]{0,90}".prop_map(String::into_bytes),
        1 => "[0-9a-f]{0,70}".prop_map(String::into_bytes),
        2 => "[ -~\r\n]{0,20}".prop_map(String::into_bytes),
        4 => prop::sample::select(vec![" ", "\n", "=", "\"", "\\n", "%3D", "\\u003d", "&", "-", "_", "x"])
            .prop_map(|s| s.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..30),
    ]
}

/// Rules that keys do not have, so that small texts meet every corner: alternations, repeats inside repeats, matches inside
/// the prefix, markers at many places, literals that contain each other.
static ODD: LazyLock<Both> = LazyLock::new(|| {
    compiled(&[
        rule("alternation", "aab(?:ab?|b{2,3}){5,8}\\.?", "prefixes = ['aab']"),
        rule("marker", "[ab]{2,6}-a-[ab]{3,5}", "marker = { texts = ['-a-'], at = [2, 6] }"),
        rule(
            "markers",
            "[ab-]{5}(?:a\\.|b-)b[ab.]{1,4}",
            "marker = { texts = ['a.b', 'b-b'], at = 5 }\nleft = 'none'",
        ),
        rule("contains", "bab[ab.-]{5,20}", "prefixes = ['bab']\ncontains = ['aa.', 'a.a', '-a-a-']"),
        rule("context", "[ab]{8,9}", "context = ['a.b', '--=', 'a.b.a', '.ba']"),
        rule("inside", "ab-ab-ab-[ab]{0,3}", "prefixes = ['ab-ab-ab-']\nright = '[b]'"),
        rule("nested", "-ab(?:-b)?[ab]{6,9}(?:\\.[ab]{2}){0,2}", "prefixes = ['-ab', '-ab-b']"),
        rule("open", "b-b[ab-]{5,9}", "prefixes = ['b-b']\nleft = '[.]'\nright = 'none'"),
        rule("wide", "u00[^a]{5,7}a", "prefixes = ['u00']"),
        rule("between", "[ab]{8}b?", "context = ['=bb']\nbetween = '(?:-|\\.{1,3})='"),
    ])
});

/// Few texts open so many matches that the kernel cannot follow them all: those would hide what it misses.
fn hold(both: &Both, text: &[u8], cuts: &[usize], crowded: &AtomicU32) -> Result<(), TestCaseError> {
    let followed_all = both.agree(text, cuts)?;
    let crowded = crowded.fetch_add(u32::from(!followed_all), Ordering::Relaxed);
    prop_assert!(crowded < CASES / 10, "too many crowded texts");
    Ok(())
}

const CASES: u32 = 600;

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_kernel_says_what_the_engine_says(
        pieces in prop::collection::vec(piece(), 0..12),
        cuts in prop::collection::vec(any::<usize>(), 0..8),
    ) {
        static CROWDED: AtomicU32 = AtomicU32::new(0);
        hold(&BUILTIN, &pieces.concat(), &cuts, &CROWDED)?;
    }

    #[test]
    fn it_does_so_for_odd_rules(
        text in prop::collection::vec(prop::sample::select(&b"aaaabbbb.--\\n%3Du0="[..]), 0..400),
        cuts in prop::collection::vec(any::<usize>(), 0..8),
    ) {
        static CROWDED: AtomicU32 = AtomicU32::new(0);
        hold(&ODD, &text, &cuts, &CROWDED)?;
    }
}
