//! The testbed's Jupyter client for measuring: it finds out when a session that is on its way back first answers. It
//! can work from inside another network namespace, where a session that was restored by hand listens.

use crate::workload::{PORT, TOKEN};
use anyhow::{Context, anyhow, ensure};
use nix::sched::{CloneFlags, setns};
use stasis_testbed::jupyter;
use std::fs::File;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// How long an answer may take once a connection stands.
const ANSWER: Duration = Duration::from_secs(300);
/// How long a handshake may take. Jupyter sees to it that the kernel is there before it shakes hands.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Between two attempts to reach a session that is on its way back.
const PAUSE: Duration = Duration::from_millis(5);
/// How long a session may take to come or come back.
const PATIENCE: Duration = Duration::from_secs(300);

/// A server.
#[derive(Debug, Clone)]
pub struct Server {
    server: jupyter::Server,
    /// The network namespace from which it is reached, if not this program's.
    namespace: Option<PathBuf>,
}

/// When a session first answered, and how it was found out.
#[derive(Debug, Clone, Copy)]
pub struct Answered {
    /// When.
    pub at: SystemTime,
    /// Seconds from the beginning of the attempt that succeeded.
    pub attempt_s: f64,
}

impl Server {
    /// A server behind a node's port.
    pub fn at(ip: Ipv4Addr) -> Self {
        Self { server: jupyter::Server::new(ip, PORT, TOKEN), namespace: None }
    }

    /// A server on the loopback device of a network namespace.
    pub fn inside(namespace: PathBuf) -> Self {
        Self { namespace: Some(namespace), ..Self::at(Ipv4Addr::LOCALHOST) }
    }

    /// Waits until it answers, and starts a kernel; its id.
    pub fn start_kernel(&self) -> anyhow::Result<String> {
        self.there(|| self.until_it_works(|| Ok(self.server.within(ANSWER).start_kernel()?)))
    }

    /// Runs a cell; what it printed.
    pub fn run(&self, kernel: &str, code: &str) -> anyhow::Result<String> {
        self.there(|| self.ask(kernel, code))
    }

    /// Asks again and again until the right answer comes.
    pub fn first_answer(&self, kernel: &str, code: &str, right: &str) -> anyhow::Result<Answered> {
        self.there(|| {
            self.until_it_works(|| {
                let begun = Instant::now();
                let answer = self.ask(kernel, code)?;
                let answered = Answered { at: SystemTime::now(), attempt_s: begun.elapsed().as_secs_f64() };
                ensure!(answer == right, "{answer:?} instead of {right:?}");
                Ok(answered)
            })
        })
    }

    fn until_it_works<T>(&self, mut attempt: impl FnMut() -> anyhow::Result<T>) -> anyhow::Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match attempt() {
                Ok(done) => return Ok(done),
                Err(error) if Instant::now() > deadline => {
                    let address = self.server.address();
                    return Err(error.context(format!("no session at {address} after {PATIENCE:?}")));
                }
                Err(_) => thread::sleep(PAUSE),
            }
        }
    }

    /// Does the work in the server's network namespace: a thread can have another than its process.
    fn there<T: Send>(&self, work: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
        let Some(path) = &self.namespace else { return work() };
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
                setns(file, CloneFlags::CLONE_NEWNET).context("cannot enter the session's network")?;
                work()
            });
            thread.join().unwrap_or_else(|_| Err(anyhow!("the client panicked")))
        })
    }

    fn ask(&self, kernel: &str, code: &str) -> anyhow::Result<String> {
        let printed = self.server.within(HANDSHAKE).kernel(kernel, "bench")?.run(code, ANSWER)?;
        Ok(printed.trim().to_owned())
    }
}
