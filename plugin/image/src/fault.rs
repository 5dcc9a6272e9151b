//! Named steps at which tests make the writing of an image fail or stop dead. Nothing of it is in a release.

use crate::error::StoreError;

/// Passes, unless a test of this thread has asked for a failure here.
#[cfg(not(test))]
#[inline]
#[expect(clippy::unnecessary_wraps, reason = "fails in tests")]
pub(crate) fn reach(_step: &'static str) -> Result<(), StoreError> {
    Ok(())
}

#[cfg(test)]
pub(crate) use armed::{arm, reach, reached};

#[cfg(test)]
mod armed {
    use super::StoreError;
    use std::cell::{Cell, RefCell};

    thread_local! {
        static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
        static REACHED: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) };
    }

    /// Lets this many steps of this thread pass and the next one fail; `None` lets all pass.
    pub(crate) fn arm(steps: Option<usize>) {
        LEFT.set(steps);
        REACHED.take();
    }

    /// The steps of this thread since [`arm`].
    pub(crate) fn reached() -> Vec<&'static str> {
        REACHED.with_borrow(Clone::clone)
    }

    pub(crate) fn reach(step: &'static str) -> Result<(), StoreError> {
        REACHED.with_borrow_mut(|reached| reached.push(step));
        match LEFT.get() {
            None => Ok(()),
            Some(0) => Err(StoreError::Io {
                verb: step,
                path: "injected".into(),
                source: std::io::Error::from_raw_os_error(libc::EIO),
            }),
            Some(left) => {
                LEFT.set(Some(left - 1));
                Ok(())
            }
        }
    }
}
