//! One step of a scan.

use super::boundary::left_is_free;
use super::filter;
use super::flow::Flow;
use super::tables::{Anchor, DEAD, HIT, Header, NO_ANCHOR, START, Tables, Token};

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Call again.
    More,
    /// Give the flow bytes, or, after a step with `last`, stop.
    Starved,
    /// A key of this rule has ended. Call again.
    Hit(u16),
}

/// Eight bytes each that one step lets the filter judge.
const STRIDES: usize = 8;
/// Bytes that one step takes the literal automaton over, while no match is in the making.
const BYTES_ALONE: usize = 8;
/// Bytes that one step reads again.
const BYTES_AGAIN: usize = 8;

/// Goes on with what the flow was given. `last`: nothing follows in this write, so the last bytes are to be looked at now.
///
/// The flow must belong to the tables. At most as many steps as bytes, plus some per anchor of each literal and place
/// where its key can start.
#[inline]
pub fn step(flow: &mut Flow, tables: &impl Tables, last: bool) -> Step {
    if flow.hits > 0 {
        return tell(flow, tables);
    }
    if flow.row != DEAD {
        read_again(flow, tables);
        return Step::More;
    }
    if flow.anchor != NO_ANCHOR {
        consider(flow, tables);
        return Step::More;
    }
    if flow.state == START && flow.open == 0 {
        match skip(flow, tables) {
            Skip::Free => return Step::More,
            Skip::TooShort if !last => return Step::Starved,
            Skip::TooShort => begin(flow, flow.at),
            Skip::Literal(place) => begin(flow, place),
        }
    }
    if flow.at >= flow.end {
        return Step::Starved;
    }
    if flow.open == 0 {
        advance_alone(flow, tables);
    } else {
        advance(flow, tables);
    }
    Step::More
}

enum Skip {
    /// No literal starts before `Flow::at`; there are more bytes.
    Free,
    /// A literal can start at this place, or next to it.
    Literal(u64),
    /// Too few bytes to judge the next ones.
    TooShort,
}

/// Passes over bytes in which no literal starts.
#[inline]
fn skip(flow: &mut Flow, tables: &impl Tables) -> Skip {
    let mut low = flow.word(flow.at);
    for _ in 0..STRIDES {
        let word = flow.at & !7;
        if word + filter::BYTES > flow.end {
            return Skip::TooShort;
        }
        let high = flow.word(word + 8);
        if !filter::may_start(|n| tables.windows(n), low, high) {
            (flow.at, low) = (word + 8, high);
            continue;
        }
        // Windows that start before `at` were judged before.
        let first = flow.at as u32 & 6;
        let Some(place) = filter::first_that_may(|n| tables.windows(n), low, high, first) else {
            (flow.at, low) = (word + 8, high);
            continue;
        };
        let around = match place {
            0 => u64::from(flow.byte(word.wrapping_sub(1))) | low << 8,
            _ => low >> (8 * place - 8) | high << (72 - 8 * place),
        };
        if filter::does_start(|n| tables.beginnings(n), around) {
            return Skip::Literal(word + u64::from(place));
        }
        flow.at = word + u64::from(place) + 2;
        low = if place == 6 { high } else { low };
    }
    Skip::Free
}

/// Lets the automaton look from the byte before `place` on: a window tells of literals one before it, too.
#[inline]
fn begin(flow: &mut Flow, place: u64) {
    flow.at = place.saturating_sub(1).max(flow.floor);
}

/// Takes the literal automaton over some bytes, until it needs somebody else. Most literals that seem to start do not, and a step by
/// itself costs more than what is done in it.
#[inline]
fn advance_alone(flow: &mut Flow, tables: &impl Tables) {
    for _ in 0..BYTES_ALONE {
        if flow.at >= flow.end {
            return;
        }
        read_literal(flow, tables);
        settle(flow, tables);
        if flow.anchor != NO_ANCHOR || flow.state == START {
            return;
        }
    }
}

/// Takes both automata over one byte.
#[inline]
fn advance(flow: &mut Flow, tables: &impl Tables) {
    let byte = read_literal(flow, tables);
    follow(flow, tables, byte);
    settle(flow, tables);
}

/// Takes the literal automaton over one byte, and gives it.
#[inline]
fn read_literal(flow: &mut Flow, tables: &impl Tables) -> u8 {
    let header = tables.header();
    let byte = flow.byte(flow.at);
    let class = tables.class(0, byte);
    let cell = u32::from(flow.state).wrapping_mul(header.stride.into()).wrapping_add(class.into());
    flow.at = flow.at.wrapping_add(1);
    if flow.state == START {
        // A literal that starts with this byte is under way now.
        flow.floor = flow.at;
    }
    flow.state = tables.literal(cell);
    byte
}

/// Notes the literal that has ended, or hands back to the filter.
#[inline]
fn settle(flow: &mut Flow, tables: &impl Tables) {
    let header = tables.header();
    if flow.state >= header.ending {
        flow.anchor = tables.ending(flow.state - header.ending);
        flow.tried = 0;
    } else {
        resume(flow, &header);
    }
}

/// Hands back to the filter when so little of a literal is under way that it may judge it again.
#[inline]
fn resume(flow: &mut Flow, header: &Header) {
    let under_way = match flow.state {
        START => 0,
        state if state < header.two => 1,
        state if state < header.three => 2,
        _ => return,
    };
    // Those bytes came before `at`, so this is not negative.
    let start = flow.at.saturating_sub(under_way);
    if under_way == 0 {
        flow.floor = start;
    } else if flow.open == 0 && start >= flow.floor && (start & !7) + filter::BYTES <= flow.end {
        flow.floor = start;
        flow.at = start;
        flow.state = START;
    }
}

/// Takes every match in the making over one byte.
#[inline]
fn follow(flow: &mut Flow, tables: &impl Tables, byte: u8) {
    let (mut closed, mut hits) = (0, 0);
    for slot in &mut flow.slots {
        if slot.row != DEAD {
            slot.row = next_row(tables, &tables.token(slot.token), slot.row, byte);
            closed += u8::from(slot.row == DEAD);
            hits += u8::from(slot.row == HIT);
        }
    }
    flow.open = flow.open.saturating_sub(closed);
    flow.hits = flow.hits.wrapping_add(hits);
}

#[inline]
fn next_row(tables: &impl Tables, token: &Token, row: u16, byte: u8) -> u16 {
    let class = tables.class(token.classes, byte);
    tables.cell(token.base.wrapping_add(row.into()).wrapping_add(class.into()))
}

/// One place where the key of the literal that just ended can start.
#[inline]
fn consider(flow: &mut Flow, tables: &impl Tables) {
    let anchor = tables.anchor(flow.anchor);
    let back = u64::from(anchor.least) + u64::from(flow.tried);
    if flow.at >= back && is_free(flow, tables, &anchor, flow.at - back) {
        if anchor.row == DEAD {
            (flow.row, flow.read) = (tables.token(anchor.token).start, 0);
            return;
        }
        flow.open(anchor.token, anchor.row);
    }
    move_on(flow, &anchor);
}

/// To the next place, or to the next anchor.
#[inline]
fn move_on(flow: &mut Flow, anchor: &Anchor) {
    if u16::from(anchor.least) + flow.tried < u16::from(anchor.most) {
        flow.tried = flow.tried.wrapping_add(1);
    } else {
        flow.tried = 0;
        flow.anchor = anchor.next;
    }
}

#[inline]
fn is_free(flow: &Flow, tables: &impl Tables, anchor: &Anchor, start: u64) -> bool {
    let glued = |byte: u8| tables.glue(anchor.left, byte >> 5) >> (byte & 31) & 1 == 1;
    left_is_free(glued, |distance| Some(flow.byte(start.checked_sub(distance as u64)?)))
}

/// Reads some of the bytes since the place that is considered: where they take the token is where its match is now.
#[inline]
fn read_again(flow: &mut Flow, tables: &impl Tables) {
    let anchor = tables.anchor(flow.anchor);
    let token = tables.token(anchor.token);
    let back = u16::from(anchor.least).wrapping_add(flow.tried);
    let start = flow.at.wrapping_sub(back.into());
    for _ in 0..BYTES_AGAIN {
        // A hit stays one, whatever follows.
        if flow.read >= back || flow.row <= HIT {
            break;
        }
        flow.row = next_row(tables, &token, flow.row, flow.byte(start.wrapping_add(flow.read.into())));
        flow.read = flow.read.wrapping_add(1);
    }
    if flow.read >= back || flow.row <= HIT {
        flow.open(anchor.token, flow.row);
        flow.row = DEAD;
        move_on(flow, &anchor);
    }
}

/// Names the rule of one match, and frees its slot.
#[inline]
fn tell(flow: &mut Flow, tables: &impl Tables) -> Step {
    match flow.slots.iter_mut().find(|slot| slot.row == HIT) {
        Some(slot) => {
            slot.row = DEAD;
            flow.hits = flow.hits.saturating_sub(1);
            flow.open = flow.open.saturating_sub(1);
            Step::Hit(tables.token(slot.token).rule)
        }
        None => {
            flow.hits = 0;
            Step::More
        }
    }
}
