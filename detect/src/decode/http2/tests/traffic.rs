//! Whole connections: cut anywhere, joined anywhere, damaged anywhere.

use super::encoder::How;
use super::*;
use proptest::prelude::*;

/// What one side sends, and the fields it means.
#[derive(Debug, Clone)]
struct Connection {
    frames: Vec<Vec<u8>>,
    fields: Vec<(u32, String, String)>,
}

#[derive(Debug, Clone)]
enum Send {
    Head { stream: u32, fields: Vec<(String, String)>, how: How, huffman: bool, cuts: Vec<usize>, shape: u8 },
    Data { stream: u32, text: String, shape: u8 },
    Resize(usize),
    Other(u8, Vec<u8>),
}

fn send() -> impl Strategy<Value = Send> {
    let stream = (0u32..6).prop_map(|n| 2 * n + 1);
    let name = prop_oneof!["x-[a-f]", Just("cookie".to_owned()), Just(":path".to_owned())];
    let how = prop_oneof![3 => Just(How::Insert), 1 => Just(How::Plain), 1 => Just(How::Never)];
    let head = (
        stream.clone(),
        prop::collection::vec((name, "[a-z/]{0,12}"), 1..8),
        how,
        any::<bool>(),
        prop::collection::vec(0usize..40, 0..3),
        any::<u8>(),
    );
    prop_oneof![
        4 => head.prop_map(|(stream, fields, how, huffman, cuts, shape)| {
            Send::Head { stream, fields, how, huffman, cuts, shape }
        }),
        4 => (stream, "[ -~]{0,60}", any::<u8>()).prop_map(|(stream, text, shape)| Send::Data { stream, text, shape }),
        1 => prop_oneof![Just(0usize), 0usize..300, Just(4096), Just(100_000)].prop_map(Send::Resize),
        1 => (prop_oneof![Just(6u8), Just(8), Just(7), Just(3), Just(2), Just(0x10), Just(0x4d)],
              prop::collection::vec(any::<u8>(), 8)).prop_map(|(kind, bytes)| Send::Other(kind, bytes)),
    ]
}

fn connection() -> impl Strategy<Value = Connection> {
    prop::collection::vec(send(), 1..25).prop_map(|sends| {
        let mut encoder = Encoder::new();
        let (mut frames, mut fields, mut resize) = (Vec::new(), Vec::new(), Vec::new());
        for send in sends {
            match send {
                Send::Head { stream, fields: all, how, huffman, cuts, shape } => {
                    (encoder.how, encoder.huffman) = (how, huffman);
                    let mut block = std::mem::take(&mut resize);
                    let pairs: Vec<_> = all.iter().map(|(name, value)| (&**name, &**value)).collect();
                    block.extend(encoder.block(&pairs));
                    frames.extend(head(stream, &block, cuts, shape));
                    fields.extend(all.into_iter().map(|(name, value)| (stream, name, value)));
                }
                Send::Data { stream, text, shape } => {
                    let payload = if shape & PADDED == 0 {
                        text.into_bytes()
                    } else {
                        padded(text.as_bytes(), shape >> 4)
                    };
                    frames.push(frame(0, shape & (PADDED | END_STREAM), stream, &payload));
                }
                Send::Resize(size) => resize.extend(encoder.resize(size)),
                Send::Other(kind, bytes) => {
                    let (length, stream) = match kind {
                        8 | 3 => (4, 3),
                        2 => (5, 3),
                        _ => (8, 0),
                    };
                    frames.push(frame(kind, 0, stream, &bytes[..length]));
                }
            }
        }
        Connection { frames, fields }
    })
}

/// A header block in one frame or several.
fn head(stream: u32, block: &[u8], cuts: Vec<usize>, shape: u8) -> Vec<Vec<u8>> {
    let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(block.len())).collect();
    cuts.sort_unstable();
    let ends: Vec<_> = cuts.iter().copied().chain([block.len()]).collect();
    let mut start = 0;
    let parts = ends.iter().map(|&end| &block[std::mem::replace(&mut start, end)..end]);
    let frames = parts.enumerate().map(|(i, part)| {
        let last = if i + 1 == ends.len() { END_HEADERS } else { 0 };
        if i > 0 {
            return frame(9, last, stream, part);
        }
        let mut payload = part.to_vec();
        if shape & PRIORITY != 0 {
            payload.splice(0..0, [0, 0, 0, 0, 16]);
        }
        if shape & PADDED != 0 {
            payload = padded(&payload, shape >> 6);
        }
        frame(1, last | shape & (PRIORITY | PADDED | END_STREAM), stream, &payload)
    });
    frames.collect()
}

fn cut<'a>(bytes: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let (mut parts, mut rest) = (Vec::new(), bytes);
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (part, more) = rest.split_at((*size).min(rest.len()));
        parts.push(part);
        rest = more;
    }
    parts
}

fn run(mut http: Http2, parts: &[&[u8]]) -> Vec<Event> {
    let mut out = Out::default();
    parts.iter().for_each(|part| http.feed(part, false, &mut out));
    http.peek(&mut out);
    out.0
}

fn fields(events: &[Event]) -> Vec<(u32, Option<&str>, &str)> {
    let field = |event| match event {
        &Event::Field { stream, ref name, ref value, .. } => Some((stream, name.as_deref(), &**value)),
        _ => None,
    };
    events.iter().filter_map(field).collect()
}

/// Are these some of the fields that were sent, in their order, with the right name or none?
fn are_true(seen: &[(u32, Option<&str>, &str)], sent: &[(u32, String, String)]) -> bool {
    let mut sent = sent.iter();
    seen.iter().all(|(stream, name, value)| {
        sent.any(|(s, n, v)| s == stream && v == value && name.is_none_or(|name| name == n))
    })
}

proptest! {
    #[test]
    fn any_cut_gives_the_same(connection in connection(), sizes in prop::collection::vec(1usize..30, 1..6)) {
        let bytes = [client(), connection.frames.concat()].concat();
        let whole = run(Http2::new(), &[&bytes]);
        prop_assert_eq!(&run(Http2::new(), &cut(&bytes, &sizes)), &whole);
        let sent: Vec<_> = connection.fields.iter().map(|(s, n, v)| (*s, Some(&**n), &**v)).collect();
        prop_assert_eq!(fields(&whole), sent);
    }

    /// Joined at any frame: nothing that comes out is wrong, and every value that was sent as text comes out.
    #[test]
    fn joined_late_no_name_is_wrong(connection in connection(), at in any::<prop::sample::Index>()) {
        let frames = &connection.frames;
        prop_assume!(!frames.is_empty());
        let bytes = frames[at.index(frames.len())..].concat();
        let events = run(Http2::midway(Sender::Client), &[&bytes]);
        prop_assert!(are_true(&fields(&events), &connection.fields), "{:?}", events);
        let lost = Event::Bytes { stream: 0, place: Place::Stream, text: String::new(), over: false };
        prop_assert!(!events.contains(&lost) && !events.contains(&Event::TooLong));
    }

    /// A run of bytes is missing, and the frames are found again at a later one: still no name is wrong.
    #[test]
    fn behind_a_gap_no_name_is_wrong(
        connection in connection(),
        from in any::<prop::sample::Index>(),
        length in 1usize..60,
        sizes in prop::collection::vec(1usize..30, 1..6),
    ) {
        let (start, all) = (client(), connection.frames.concat());
        prop_assume!(!all.is_empty());
        let from = from.index(all.len());
        let to = (from + length).min(all.len());
        let (mut http, mut out) = (Http2::new(), Out::default());
        http.feed(&start, true, &mut out);
        cut(&all[..from], &sizes).iter().for_each(|part| http.feed(part, false, &mut out));
        http.gap((to - from) as u64, &mut out);
        let mut at = 0;
        let ends = connection.frames.iter().map(|frame| { at += frame.len(); at });
        let next = ends.into_iter().find(|&end| end >= to).unwrap_or(all.len());
        http.feed(&all[to..next], false, &mut out);
        if next < all.len() {
            http.feed(&all[next..], true, &mut out);
        }
        prop_assert!(are_true(&fields(&out.0), &connection.fields), "{:?}", out.0);
    }

    #[test]
    fn damage_is_survived(
        connection in connection(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        sizes in prop::collection::vec(1usize..30, 1..6),
        gaps in prop::collection::vec(0u64..50, 0..4),
        late in any::<bool>(),
    ) {
        let mut bytes = [client(), connection.frames.concat()].concat();
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let bytes = &bytes[if late { client().len() } else { 0 }..];
        let mut http = if late { Http2::midway(Sender::Unknown) } else { Http2::new() };
        let mut out = Out::default();
        let mut gaps = gaps.into_iter();
        for (i, part) in cut(bytes, &sizes).into_iter().enumerate() {
            http.feed(part, i % 3 == 0, &mut out);
            match i % 7 {
                3 => gaps.next().into_iter().for_each(|gap| http.gap(gap, &mut out)),
                4 => http.peek(&mut out),
                5 if i % 5 == 0 => http.give_up(&mut out),
                _ => {}
            }
        }
        looks_like_frames(bytes);
    }

    /// What is no HTTP/2 comes out whole, whatever it is.
    #[test]
    fn noise_comes_out_whole(
        bytes in prop::collection::vec(any::<u8>(), 9..200),
        sizes in prop::collection::vec(1usize..30, 1..6),
    ) {
        prop_assume!(bytes[0] != b'P' && bytes[3] != 4);
        let events = run(Http2::new(), &cut(&bytes, &sizes));
        let whole = Event::Bytes { stream: 0, place: Place::Stream, text: text(&bytes), over: false };
        prop_assert_eq!(events, vec![whole]);
    }
}
