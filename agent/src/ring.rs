//! Reads the ring: batches instead of a wake-up per record.
//!
//! While records keep coming the reader naps between batches and the kernel wakes nobody; only before it
//! really sleeps does it ask to be woken (`CONSUMER`).

use crate::health::{Cause, Counters};
use crate::loader::Maps;
use crate::sockets::Sockets;
use aya::maps::{Array, MapData, PerCpuArray, RingBuf};
use keymoat_abi::LossCause;
use keymoat_abi::decode::{Event, decode};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Between two batches. Long enough to gather many records, short enough that a person sees no delay.
const NAP: Duration = Duration::from_millis(1);
/// How often [`Sink::tick`] runs while there is, or just was, traffic.
const TICK: Duration = Duration::from_millis(20);
/// How long after the last record ticks stay that frequent: waiting tails and links are decided by then.
const BUSY: Duration = Duration::from_secs(1);
/// How often [`Sink::tick`] runs on a quiet host.
const IDLE_TICK: Duration = Duration::from_millis(250);
const READ_LOSS: Duration = Duration::from_secs(1);
/// Records handled before the clock and the stop flag are looked at again.
const BATCH: usize = 4096;

/// Where decoded records go.
pub trait Sink {
    fn event(&mut self, event: &Event<'_>, now: Instant);
    fn tick(&mut self, now: Instant);
}

pub struct Ring {
    events: RingBuf<MapData>,
    consumer: Array<MapData, u32>,
    loss: PerCpuArray<MapData, u64>,
    counters: Counters,
}

impl Ring {
    /// Reads until `stop` is set, then what is left.
    pub fn run(&mut self, sink: &mut dyn Sink, stop: &AtomicBool) {
        let mut last_record = Instant::now();
        let mut last_tick = last_record;
        let mut last_loss = last_record;
        loop {
            let now = Instant::now();
            let drained = self.drain(sink, now);
            if drained > 0 {
                last_record = now;
            }
            let tick = if now - last_record < BUSY { TICK } else { IDLE_TICK };
            if now - last_tick >= tick {
                sink.tick(now);
                last_tick = now;
            }
            if now - last_loss >= READ_LOSS {
                self.read_loss();
                last_loss = now;
            }
            if stop.load(Ordering::Relaxed) {
                while self.drain(sink, now) > 0 {}
                self.read_loss();
                return;
            }
            match drained {
                0 => self.sleep(tick),
                BATCH => {}
                _ => std::thread::sleep(NAP),
            }
        }
    }

    fn drain(&mut self, sink: &mut dyn Sink, now: Instant) -> usize {
        let mut drained = 0;
        while drained < BATCH {
            let Some(record) = self.events.next() else { break };
            drained += 1;
            match decode(&record) {
                Ok(event) => sink.event(&event, now),
                Err(error) => {
                    tracing::debug!("{error}");
                    self.counters.add(Cause::BadRingRecord, 1);
                }
            }
        }
        self.counters.add_records(drained);
        drained
    }

    /// Waits for a record. Asking to be woken comes first: `poll` then finds what arrived in between.
    fn sleep(&mut self, limit: Duration) {
        if let Err(error) = self.consumer.set(0, 1, 0) {
            tracing::debug!("asking for a wake-up: {error}");
            std::thread::sleep(NAP);
            return;
        }
        let timeout = Timespec { tv_sec: 0, tv_nsec: limit.subsec_nanos().into() };
        let mut fds = [PollFd::new(&self.events, PollFlags::IN)];
        // An interrupted wait is as good as a short one.
        let _ = poll(&mut fds, Some(&timeout));
    }

    fn read_loss(&self) {
        for &cause in LossCause::ALL {
            match self.loss.get(&(cause as u32), 0) {
                Ok(per_cpu) => self.counters.set_kernel(cause, per_cpu.iter().sum()),
                Err(error) => tracing::debug!("reading the kernel's loss counters: {error}"),
            }
        }
    }
}

/// The maps split by who uses them.
impl Maps {
    pub fn into_ring(self, counters: Counters) -> (Ring, Sockets) {
        let ring = Ring {
            events: self.events,
            consumer: self.consumer,
            loss: self.loss,
            counters: counters.clone(),
        };
        (ring, Sockets::new(self.flows, self.descriptors, counters))
    }
}
