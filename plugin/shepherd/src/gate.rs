//! A gate between two threads: one waits at it until the other has done its part, or has failed to.

use std::sync::mpsc::{Receiver, Sender, channel};

/// The side that waits.
#[derive(Debug)]
pub struct Gate {
    opened: Receiver<()>,
    open: Option<bool>,
}

/// The side that opens it. Dropped without that, as by a panic, it leaves the gate shut for good.
#[derive(Debug)]
pub struct Opener(Sender<()>);

/// A shut gate.
pub fn new() -> (Gate, Opener) {
    let (opener, opened) = channel();
    (Gate { opened, open: None }, Opener(opener))
}

impl Gate {
    /// Waits until it is open for good, or shut.
    pub fn is_open(&mut self) -> bool {
        *self.open.get_or_insert_with(|| self.opened.recv().is_ok())
    }
}

impl Opener {
    /// Opens the gate if all went well.
    pub fn open_if<T, E>(self, result: Result<T, E>) -> Result<T, E> {
        if result.is_ok() {
            // Nobody may be waiting any more.
            let _ = self.0.send(());
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn who_waits_learns_how_it_ended_and_remembers() {
        for (result, open) in [(Ok(()), true), (Err(()), false)] {
            let (mut gate, opener) = new();
            let other = thread::spawn(move || opener.open_if(result));
            assert_eq!([gate.is_open(), gate.is_open()], [open; 2]);
            assert_eq!(other.join().unwrap(), result);
        }
    }

    #[test]
    fn a_panic_leaves_it_shut() {
        let (mut gate, opener) = new();
        let other = thread::spawn(move || {
            let _opener = opener;
            panic!("on purpose");
        });
        assert!(!gate.is_open());
        assert!(other.join().is_err());
    }
}
