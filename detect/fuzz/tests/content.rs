//! Compressed bodies: whatever they are, what comes out stays in proportion, and does not depend on how they are cut.

use keymoat_detect::decode::content::Content;
use keymoat_detect::decode::limit::{MAX_BODY, Stopped};
use keymoat_fuzz::parts;

const CODINGS: [&[u8]; 5] = [b"gzip", b"deflate", b"br", b"zstd", b"gzip, br"];

#[test]
fn content() {
    bolero::check!().for_each(|input: &[u8]| {
        let Some((&choice, input)) = input.split_first() else { return };
        let coding = CODINGS[usize::from(choice) % CODINGS.len()];
        let cut: Vec<&[u8]> = parts(input).collect();
        let (whole, stopped) = decoded(coding, &[&cut.concat()]);
        assert_eq!(decoded(coding, &cut), (whole, stopped), "{:?}", String::from_utf8_lossy(coding));
    });
}

fn decoded(coding: &[u8], parts: &[&[u8]]) -> (u64, Option<Stopped>) {
    let mut content = Content::announced(coding).unwrap_or_else(|| unreachable!("a coding that is known"));
    let (mut out, mut taken) = (0, 0);
    let mut plain = |bytes: &[u8]| out += bytes.len() as u64;
    let mut result = Ok(());
    for part in parts {
        taken += part.len() as u64;
        result = content.push(part, &mut plain);
        if result.is_err() {
            break;
        }
    }
    let result = result.and_then(|()| content.finish(&mut plain));
    assert!(out <= MAX_BODY && out <= (taken * 200).max(1 << 20), "{out} out of {taken}");
    (out, result.err())
}
