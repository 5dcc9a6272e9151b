//! What can go wrong in the demonstration, told so that the reader knows which step it was and what was seen.

use std::path::PathBuf;

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
    /// A program that the nodes need is not built.
    #[error(
        "{path} is not built: run `cargo build --release -p spank-stasis -p stasis-shepherd -p stasis-capsule \
         -p stasis-cli` with the same target folder, or say `make demo`, which does"
    )]
    NotBuilt {
        /// Where it was sought.
        path: PathBuf,
    },
    /// Jupyter's HTTP side failed.
    #[error("{method} http://{url}: {source}")]
    Http {
        /// The request's method.
        method: &'static str,
        /// The address, without the token.
        url: String,
        /// Why not.
        source: Box<ureq::Error>,
    },
    /// Jupyter answered with something else than success.
    #[error("{method} http://{url}: status {status}: {body}")]
    Status {
        /// The request's method.
        method: &'static str,
        /// The address, without the token.
        url: String,
        /// The status.
        status: u16,
        /// What it said.
        body: String,
    },
    /// A WebSocket of Jupyter failed.
    #[error("websocket {path}: {source}")]
    Socket {
        /// The path of the address.
        path: String,
        /// Why not.
        source: Box<tungstenite::Error>,
    },
    /// Code that the demonstration ran in a kernel raised an exception.
    #[error("the kernel raised {0}")]
    Raised(String),
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
    /// For `map_err`: a WebSocket's error.
    pub fn socket(path: &str) -> impl FnOnce(tungstenite::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Socket { path, source: Box::new(source) }
    }

    /// For `map_err`: something that the system refused.
    pub fn system<E: ToString>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::System { what, reason: error.to_string() }
    }
}
