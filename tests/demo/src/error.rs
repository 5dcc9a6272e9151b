//! What can go wrong in the demonstration, told so that the reader knows which step it was and what was seen.

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure of the demonstration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A step failed; its own error says why.
    #[error("{step}: {source}")]
    Step {
        /// The step as the screen named it.
        step: String,
        /// Why.
        source: Box<Error>,
    },
    /// The cluster failed.
    #[error(transparent)]
    Testbed(#[from] stasis_testbed::Error),
    /// The session gave no answer, or not the right one.
    #[error(transparent)]
    Jupyter(#[from] stasis_testbed::jupyter::Error),
    /// Something did not come in time.
    #[error("no {what} within {seconds} s")]
    Late {
        /// What was waited for.
        what: String,
        /// For how long.
        seconds: u64,
    },
    /// Something answered, but not what it should.
    #[error("expected {what}, got {got:?}")]
    Unexpected {
        /// What was expected.
        what: &'static str,
        /// What came.
        got: String,
    },
    /// The walk of the checkpoint took another way.
    #[error("{0}")]
    Astray(String),
    /// The session came back with something missing.
    #[error("not as it was before: {}", .0.join(", "))]
    Lost(Vec<&'static str>),
    /// The system refused.
    #[error("cannot {what}: {reason}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why not.
        reason: String,
    },
}

impl Error {
    /// For `map_err`: something that the system refused.
    pub fn system<E: ToString>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::System { what, reason: error.to_string() }
    }
}
