//! What tests of streams share: the same bytes at once and in pieces.

use keymoat_detect::{Detector, MAX_BYTES_HELD, Match, Stream};

/// Rule, where its secret starts, the secret.
pub type Found = (String, u64, Vec<u8>);

pub fn record(all: &mut Vec<Found>) -> impl FnMut(Match<'_>) + '_ {
    |m| all.push((m.rule.id.clone(), m.start, m.secret.to_vec()))
}

/// What counts: a match that is none gives way to others in it.
pub fn findings(all: &mut Vec<Found>) -> impl FnMut(Match<'_>) + '_ {
    let mut record = record(all);
    move |m| {
        if m.assessment.is_ok() {
            record(m);
        }
    }
}

pub fn scan(detector: &Detector, bytes: &[u8]) -> Vec<Found> {
    let mut all = Vec::new();
    detector.scan(bytes, &mut record(&mut all));
    all
}

pub fn in_chunks<'a>(detector: &Detector, chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Found> {
    let (mut all, mut stream) = (Vec::new(), Stream::default());
    for chunk in chunks {
        detector.push(&mut stream, chunk, &mut record(&mut all));
        assert!(held(&stream) <= MAX_BYTES_HELD, "{stream:?}");
    }
    detector.flush(&mut stream, &mut record(&mut all));
    assert!(!stream.pending());
    all
}

/// The findings with a flush behind each chunk.
pub fn flushed<'a>(detector: &Detector, chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Found> {
    let (mut all, mut stream) = (Vec::new(), Stream::default());
    for chunk in chunks {
        detector.push(&mut stream, chunk, &mut findings(&mut all));
        detector.flush(&mut stream, &mut findings(&mut all));
        assert!(!stream.pending());
        detector.flush(&mut stream, &mut |_| panic!("reported again"));
    }
    all
}

/// Cuts `text` where `cuts` say.
pub fn cut<'a>(text: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).collect();
    at.extend([0, text.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect()
}

/// Fails if two findings overlap, or one is not what stands there.
pub fn assert_apart(found: &[Found], text: &[u8]) {
    let mut end = 0;
    for (_, start, secret) in found {
        assert!(*start >= end, "overlaps the one before it");
        end = start + secret.len() as u64;
        assert_eq!(&text[*start as usize..end as usize], &secret[..]);
    }
}

pub fn held(stream: &Stream) -> usize {
    let debug = format!("{stream:?}");
    let number = debug.split("held: ").nth(1).unwrap().split(',').next().unwrap();
    number.parse().unwrap()
}
