//! `br`: Brotli (RFC 7932).

use super::Decoder;
use crate::decode::limit::{MAX_PIECE, MAX_WINDOW, Sink, Stopped};
use brotli_decompressor::{
    Allocator, BrotliDecoderErrorCode as Code, BrotliDecoderTakeOutput, BrotliDecompressStream, BrotliResult,
    BrotliState, SliceWrapper, SliceWrapperMut, StandardAlloc,
};
use zeroize::Zeroizing;

/// What the decoder has allocated behind the end of its window.
const SLACK: usize = 4 * 1024;

type State = BrotliState<WindowMemory, StandardAlloc, StandardAlloc>;

pub struct Brotli {
    state: Box<State>,
    begun: bool,
    ended: bool,
}

impl Default for Brotli {
    fn default() -> Self {
        let alloc = StandardAlloc::default;
        // Strict: no "large windows" of up to 1 GiB, which are not Brotli as the RFC has it.
        Self {
            state: Box::new(State::new_strict(WindowMemory, alloc(), alloc())),
            begun: false,
            ended: false,
        }
    }
}

impl Decoder for Brotli {
    fn push(&mut self, bytes: &[u8], plain: Sink<'_>) -> Result<(), Stopped> {
        let (mut left, mut at, mut total) = (bytes.len(), 0, 0);
        if left == 0 {
            return Ok(());
        }
        if self.ended {
            return Err(Stopped::Broken);
        }
        self.begun = true;
        loop {
            // Given no room, the decoder keeps its output where it is, and it is taken from there.
            let result = BrotliDecompressStream(
                &mut left,
                &mut at,
                bytes,
                &mut 0,
                &mut 0,
                &mut [],
                &mut total,
                &mut self.state,
            );
            match result {
                BrotliResult::NeedsMoreOutput => self.take(plain)?,
                BrotliResult::NeedsMoreInput => return self.take(plain),
                BrotliResult::ResultSuccess => {
                    self.ended = true;
                    self.take(plain)?;
                    return if left == 0 { Ok(()) } else { Err(Stopped::Broken) };
                }
                BrotliResult::ResultFailure => return Err(self.fail(plain)),
            }
        }
    }

    fn finish(&mut self, _: Sink<'_>) -> Result<(), Stopped> {
        if self.ended || !self.begun { Ok(()) } else { Err(Stopped::Broken) }
    }

    fn buffered(&self) -> usize {
        self.state.ringbuffer.slice().len() + size_of::<State>()
    }
}

impl Brotli {
    fn take(&mut self, plain: Sink<'_>) -> Result<(), Stopped> {
        loop {
            let mut size = MAX_PIECE;
            let output = BrotliDecoderTakeOutput(&mut self.state, &mut size);
            if output.is_empty() {
                return Ok(());
            }
            plain(output)?;
        }
    }

    /// Hands on what the decoder would keep to itself because of what came after it. What it made of the bytes
    /// behind the damage may come with it; how much of that depends on how the bytes were cut.
    fn fail(&mut self, plain: Sink<'_>) -> Stopped {
        let code = self.state.error_code;
        self.state.error_code = Code::BROTLI_DECODER_SUCCESS;
        self.state.meta_block_remaining_len = self.state.meta_block_remaining_len.max(0);
        if let Err(stopped) = self.take(plain) {
            return stopped;
        }
        match code {
            Code::BROTLI_DECODER_ERROR_ALLOC_RING_BUFFER_1
            | Code::BROTLI_DECODER_ERROR_ALLOC_RING_BUFFER_2 => Stopped::Limit,
            _ => Stopped::Broken,
        }
    }
}

/// Memory for the window: no more than is allowed, wiped when it is freed.
///
/// The window grows with what is decoded, so a sender that announces one of 16 MiB and uses little is not refused.
#[derive(Clone, Copy, Debug)]
pub struct WindowMemory;

#[derive(Default)]
pub struct Cell(Zeroizing<Vec<u8>>);

impl Allocator<u8> for WindowMemory {
    type AllocatedMemory = Cell;

    fn alloc_cell(&mut self, len: usize) -> Cell {
        if len > MAX_WINDOW + SLACK { Cell::default() } else { Cell(Zeroizing::new(vec![0; len])) }
    }

    fn free_cell(&mut self, _: Cell) {}
}

impl SliceWrapper<u8> for Cell {
    fn slice(&self) -> &[u8] {
        &self.0
    }
}

impl SliceWrapperMut<u8> for Cell {
    fn slice_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}
