//! However bytes are cut, the engine finds the same, and never the same twice.

use keymoat_detect::Stream;
use keymoat_fuzz::{DETECTOR, parts};

#[test]
fn engine() {
    bolero::check!().for_each(|input: &[u8]| {
        let text: Vec<u8> = parts(input).flatten().copied().collect();
        let mut whole = Vec::new();
        DETECTOR
            .scan(&text, &mut |found| whole.push((found.rule.id.clone(), found.start, found.secret.len())));
        let (mut cut, mut stream) = (Vec::new(), Stream::default());
        for part in parts(input) {
            DETECTOR.push(&mut stream, part, &mut |found| {
                cut.push((found.rule.id.clone(), found.start, found.secret.len()));
            });
        }
        DETECTOR.flush(&mut stream, &mut |found| {
            cut.push((found.rule.id.clone(), found.start, found.secret.len()))
        });
        assert_eq!(whole, cut);
    });
}
