//! What the program `stasis-capsule` does.
//!
//! It is told by its first argument and one JSON document, or, when CRIU calls back, by CRIU's own environment
//! variables.

use crate::{action, enter, init, sock_diag};
use serde::{Serialize, de::DeserializeOwned};
use std::process::ExitCode;

pub(crate) const INIT: &str = "capsule-init";
pub(crate) const ENTER: &str = "capsule-enter";
pub(crate) const HANG_UP: &str = "capsule-hang-up";

/// Does what this process was started for, and returns its exit code.
///
/// Must be called before the process has started a thread.
pub fn dispatch() -> ExitCode {
    if let Some(code) = action::run_if_called_by_criu() {
        return code;
    }
    let mut arguments = std::env::args().skip(1);
    let result = match arguments.next().as_deref() {
        Some(INIT) => parse(arguments.next()).and_then(|order| init::run(&order)),
        Some(ENTER) => parse(arguments.next()).and_then(|order| enter::run(&order)),
        Some(HANG_UP) => sock_diag::hang_up().map(|()| ExitCode::SUCCESS).map_err(|error| error.to_string()),
        _ => Err("stasis-shepherd and CRIU start this program; there is nothing to type".into()),
    };
    result.unwrap_or_else(|message| {
        eprintln!("{message}");
        ExitCode::from(125)
    })
}

fn parse<T: DeserializeOwned>(argument: Option<String>) -> Result<T, String> {
    let text = argument.ok_or("missing the helper's argument")?;
    serde_json::from_str(&text).map_err(|error| format!("bad helper argument: {error}"))
}

/// A helper's work order as one argument.
pub(crate) fn argument<T: Serialize>(order: &T) -> String {
    serde_json::to_string(order).expect("a work order is plain data")
}
