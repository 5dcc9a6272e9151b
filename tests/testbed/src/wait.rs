//! Bounded waiting. Suites never sleep for a fixed time: they say what they wait for and for how long at most,
//! and a failure says what was seen last.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Asks `probe` again and again until it answers `Some`, for at most `timeout`.
///
/// An error of the probe counts as "not yet": a cluster that is changing state gives some. The last one is
/// told if the time runs out.
///
/// # Errors
/// [`Error::Timeout`] with `what` and the last error seen.
pub fn wait_for<T>(what: &str, timeout: Duration, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        let last_seen = match probe() {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => String::new(),
            Err(error) => error.to_string(),
        };
        if start.elapsed() >= timeout {
            let seconds = start.elapsed().as_secs_f64();
            return Err(Error::Timeout { what: what.to_owned(), seconds, last_seen });
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// [`wait_for`] with a yes-or-no probe.
///
/// # Errors
/// [`Error::Timeout`], as there.
pub fn wait_until(what: &str, timeout: Duration, mut probe: impl FnMut() -> Result<bool>) -> Result<()> {
    wait_for(what, timeout, || Ok(probe()?.then_some(())))
}
