//! Whatever a program sends in whatever pieces, inspecting it ends, and nothing shown holds a secret.

use keymoat_fuzz::{DETECTOR, inspect, parts};

#[test]
fn inspector() {
    bolero::check!().for_each(|input: &[u8]| {
        for hit in inspect(parts(input)).0 {
            for shown in [&hit.redacted, &hit.location] {
                DETECTOR.scan(shown.as_bytes(), &mut |found| panic!("{} is shown", found.rule.id));
            }
        }
    });
}
