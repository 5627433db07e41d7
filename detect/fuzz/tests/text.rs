//! Texts with encodings in them: what is found does not depend on how they are cut.

use keymoat_detect::text::{Sight, Text, scan};
use keymoat_fuzz::{DETECTOR, parts};

/// Rule, where it stands, how it is wrapped up.
type Seen = (String, u64, u64, Vec<&'static str>);

fn seen(sight: &Sight<'_>) -> Seen {
    let wrapped = sight.wrapped.iter().map(|wrap| wrap.name()).collect();
    (sight.rule.id.clone(), sight.span.start, sight.span.end, wrapped)
}

#[test]
fn text() {
    bolero::check!().for_each(|input: &[u8]| {
        let cut: Vec<&[u8]> = parts(input).collect();
        let (mut whole, mut cut_up, mut text) = (Vec::new(), Vec::new(), Text::default());
        scan(&DETECTOR, &cut.concat(), &mut |sight| whole.push(seen(&sight)));
        for part in cut {
            text.push(&DETECTOR, part, &mut |sight| cut_up.push(seen(&sight)));
        }
        text.finish(&DETECTOR, &mut |sight| cut_up.push(seen(&sight)));
        assert_eq!(whole, cut_up);
    });
}
