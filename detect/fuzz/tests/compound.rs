//! Bodies made of others: nothing that is not compressed is left out or made up, however it is cut.

use keymoat_detect::decode::compound::{Compound, Element};
use keymoat_fuzz::parts;

const KINDS: [&[u8]; 3] = [
    b"multipart/form-data; boundary=b",
    b"application/grpc+proto",
    b"application/x-git-receive-pack-request",
];

#[test]
fn compound() {
    bolero::check!().for_each(|input: &[u8]| {
        let Some((&choice, input)) = input.split_first() else { return };
        let kind = KINDS[usize::from(choice) % KINDS.len()];
        let cut: Vec<&[u8]> = parts(input).collect();
        assert_eq!(elements(kind, &cut), elements(kind, &[&cut.concat()]));
    });
}

/// All bytes, each behind the name of its element where that changes.
fn elements(kind: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut body =
        Compound::announced(kind, Some(b"gzip")).unwrap_or_else(|| unreachable!("a kind that is known"));
    let (mut all, mut last) = (Vec::new(), None);
    let mut take = |element: Element<'_>, bytes: &[u8]| {
        let step = element.step(|name| String::from_utf8_lossy(name).into_owned());
        if last.as_ref() != Some(&step) && !bytes.is_empty() {
            all.extend_from_slice(format!("[{step:?}]").as_bytes());
            last = Some(step);
        }
        all.extend_from_slice(bytes);
    };
    // Damage ends nothing here: the rest is handed on.
    for part in parts {
        let _ = body.push(part, &mut |element, _, bytes| take(element, bytes));
    }
    let _ = body.finish(&mut |element, _, bytes| take(element, bytes));
    all
}
