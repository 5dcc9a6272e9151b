//! Reads a trace, or generates one, a little ahead of the simulation and on another core: that work costs
//! about as much as simulating it. Order and content are untouched, and the number of sessions held is
//! bounded, so neither results nor memory notice.

use stasis_workloads::format::Sessions;
use stasis_workloads::{Session, TraceError};
use std::sync::mpsc::{Receiver, sync_channel};
use std::vec::IntoIter;

type Item = Result<Session, TraceError>;

/// Sessions in a parcel: enough that handing one over costs nothing, few enough to stay in cache.
const PARCEL: usize = 64;
/// Parcels that may wait.
const AHEAD: usize = 8;

/// Sessions from another thread, in their order.
pub struct Prefetch {
    parcels: Receiver<Vec<Item>>,
    current: IntoIter<Item>,
}

impl Prefetch {
    /// Starts to read ahead. The thread ends with the trace, or when this is dropped.
    pub fn new(mut sessions: Sessions) -> Self {
        let (sender, parcels) = sync_channel(AHEAD);
        std::thread::spawn(move || {
            loop {
                let parcel: Vec<Item> = sessions.by_ref().take(PARCEL).collect();
                let last = parcel.len() < PARCEL;
                if sender.send(parcel).is_err() || last {
                    break;
                }
            }
        });
        Self { parcels, current: Vec::new().into_iter() }
    }
}

impl Iterator for Prefetch {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        loop {
            if let Some(item) = self.current.next() {
                return Some(item);
            }
            self.current = self.parcels.recv().ok()?.into_iter();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stasis_workloads::Request;

    #[test]
    fn order_and_content_are_untouched_and_it_may_be_dropped_early() {
        let session = |id| Session {
            id,
            user: 0,
            submit_ns: id,
            end_ns: id + 1,
            request: Request { cores_milli: 1, gpus: 0, memory_bytes: 0 },
            busy: Box::default(),
            memory: Box::default(),
            connected: Box::default(),
        };
        for count in [0, 1, 63, 64, 65, 1000] {
            let ahead = Prefetch::new(Box::new((0..count).map(move |id| Ok(session(id)))));
            let ids: Vec<u64> = ahead.map(|session| session.expect("no error").id).collect();
            assert_eq!(ids, (0..count).collect::<Vec<_>>());
        }
        let mut endless = Prefetch::new(Box::new((0..).map(move |id| Ok(session(id)))));
        assert_eq!(endless.next().map(|session| session.expect("no error").id), Some(0));
    }
}
