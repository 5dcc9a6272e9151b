//! The browser's side of a notebook whose cell never ends: it hears every line, and when its connection breaks it
//! connects again, as the same browser tab, to wherever the session is then.
//!
//! A Jupyter server whose client is gone keeps what a kernel says and hands it over when the same tab returns, so the
//! lines heard here are all that the loop has printed, if the session was moved without a loss.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use stasis_testbed::jupyter::{Error, Kernel, Server};

/// How long one look at a quiet connection takes.
const LOOK: Duration = Duration::from_millis(20);

/// Pause before a connection is tried again.
const AGAIN: Duration = Duration::from_millis(100);

/// A tab that listens.
pub struct Listener {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    kernel: String,
    tab: String,
    stop: AtomicBool,
    state: Mutex<State>,
}

struct State {
    server: Server,
    /// Code that is still to be run.
    code: Option<String>,
    heard: String,
    connections: u32,
    /// How much was heard before the last connection began.
    heard_before: usize,
}

impl Listener {
    /// Begins to listen to a kernel, as the browser tab `tab`.
    pub fn start(server: &Server, kernel: &str, tab: &str) -> Self {
        let state = State {
            server: server.clone(),
            code: None,
            heard: String::new(),
            connections: 0,
            heard_before: 0,
        };
        let shared = Arc::new(Shared {
            kernel: kernel.to_owned(),
            tab: tab.to_owned(),
            stop: AtomicBool::new(false),
            state: Mutex::new(state),
        });
        let own = Arc::clone(&shared);
        Self { shared, thread: Some(std::thread::spawn(move || own.listen())) }
    }

    /// Has the kernel run a cell.
    pub fn run(&self, code: &str) {
        self.shared.state().code = Some(code.to_owned());
    }

    /// Goes on elsewhere once the connection that there is breaks.
    pub fn move_to(&self, server: &Server) {
        self.shared.state().server = server.clone();
    }

    /// The last number that was heard whole.
    pub fn last(&self) -> u32 {
        ticks(&self.shared.state().heard).last().copied().flatten().unwrap_or(0)
    }

    /// All numbers that were heard, in order; `None` for a line that is none.
    pub fn ticks(&self) -> Vec<Option<u32>> {
        ticks(&self.shared.state().heard)
    }

    /// How many connections there were, and how many lines had been heard when the last one began.
    pub fn connections(&self) -> (u32, usize) {
        let state = self.shared.state();
        (state.connections, state.heard[..state.heard_before].lines().count())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listen(&self) {
        while !self.stop.load(Ordering::Relaxed) {
            let server = self.state().server.clone();
            if let Ok(kernel) = server.kernel(&self.kernel, &self.tab) {
                let mut state = self.state();
                state.connections += 1;
                state.heard_before = state.heard.len();
                drop(state);
                self.hear(kernel);
            }
            std::thread::sleep(AGAIN);
        }
    }

    /// Listens until the connection breaks.
    fn hear(&self, mut kernel: Kernel) {
        while !self.stop.load(Ordering::Relaxed) {
            let code = self.state().code.take();
            if code.is_some_and(|code| kernel.begin(&code).is_err()) {
                return;
            }
            match kernel.message(Instant::now() + LOOK) {
                Ok(message) if message["header"]["msg_type"] == "stream" => {
                    let text = message["content"]["text"].as_str().unwrap_or_default();
                    self.state().heard.push_str(text);
                }
                Ok(_) | Err(Error::Late { .. }) => {}
                Err(_) => return,
            }
        }
    }
}

/// The numbers in what was heard, but for a last line that has not ended.
fn ticks(heard: &str) -> Vec<Option<u32>> {
    let whole = heard.rfind('\n').map_or("", |end| &heard[..end]);
    whole.lines().map(|line| line.strip_prefix("tick ").and_then(|number| number.parse().ok())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lines_count() {
        assert_eq!(ticks("tick 1\ntick 2\ntick 3"), [Some(1), Some(2)]);
        assert_eq!(ticks("tick 1\ntiick 2\n"), [Some(1), None]);
        assert_eq!(ticks(""), []);
    }
}
