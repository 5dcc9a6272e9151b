//! Running the host's programs and keeping what they said. The testbed shells out where a program of
//! util-linux or iproute2 does the work in one line.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, ExitStatus, Stdio};

use crate::error::{Error, Result};

/// What a command left.
#[derive(Debug, Clone)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output, invalid UTF-8 replaced.
    pub stdout: String,
    /// Its standard error, invalid UTF-8 replaced.
    pub stderr: String,
    command: String,
}

impl Output {
    /// Whether the command ended with status 0.
    pub fn success(&self) -> bool {
        self.status.success()
    }

    /// The output, or an error that says what the command was for and what it printed.
    ///
    /// # Errors
    /// When the command did not end with status 0.
    pub fn checked(self, what: impl Into<String>) -> Result<Self> {
        if self.success() {
            return Ok(self);
        }
        let mut stderr = self.stderr;
        if stderr.trim().is_empty() {
            stderr = self.stdout;
        }
        Err(Error::Command {
            what: what.into(),
            command: self.command,
            status: self.status.to_string(),
            stderr,
        })
    }
}

/// Runs a command to its end with `input` on its standard input.
pub(crate) fn run(command: &mut Command, input: &[u8]) -> Result<Output> {
    let line = describe(command);
    let failed = |verb: &str| Error::sys::<std::io::Error>(format!("{verb} `{line}`"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed("start"))?;
    let stdin = child.stdin.take();
    let output = std::thread::scope(|scope| {
        // A thread of its own: a command that prints before it has read everything would block us both.
        // Its error says nothing that the exit status does not: the command stopped reading.
        scope.spawn(move || stdin.map(|mut pipe| pipe.write_all(input)));
        child.wait_with_output()
    })
    .map_err(failed("wait for"))?;
    Ok(Output {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        command: line,
    })
}

/// Runs a program of the host and expects success.
pub(crate) fn host<S: AsRef<OsStr>>(what: &str, program: &str, args: &[S]) -> Result<Output> {
    run(Command::new(program).args(args), b"")?.checked(what)
}

/// Whether a program is on the path.
pub(crate) fn on_path(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(tool).is_file())
}

/// The command line for people: scripts that are handed over as one argument are cut to their first line.
fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<String> = words
        .map(|word| {
            let word = word.to_string_lossy();
            match word.split_once('\n') {
                Some((first, _)) => format!("'{first} ...'"),
                None => word.into_owned(),
            }
        })
        .collect();
    words.join(" ")
}
