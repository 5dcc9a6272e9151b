//! The testbed's Jupyter client as the suites need it: it speaks for one browser window, waits as long as a busy
//! machine may need, and panics where the test stands that asked.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde_json::json;
use stasis_testbed::{jupyter, wait_for};

use crate::SOON;

pub use stasis_testbed::jupyter::{Cell, Error};

/// The port that [`SERVER`] listens on.
pub const PORT: u16 = 8888;
/// A batch script that runs JupyterLab.
pub const SERVER: &str = "#!/bin/bash
jupyter lab --no-browser --ip=0.0.0.0 --port=8888 --ServerApp.port_retries=0 \
  --IdentityProvider.token=a-token-of-the-suites --ServerApp.root_dir=\"$HOME\"
";
/// The token that [`SERVER`] lets in.
const TOKEN: &str = "a-token-of-the-suites";
/// What the browser window calls itself: the server keeps what came while the window was away.
const WINDOW: &str = "window-1";
/// How long the network may take to answer a request.
const REQUEST: Duration = Duration::from_secs(20);

/// A server, at the node where it is now.
#[derive(Debug, Clone)]
pub struct Server(jupyter::Server);

impl Server {
    /// The server behind a node's port.
    pub fn at(ip: impl Into<IpAddr>, port: u16) -> Self {
        Self(jupyter::Server::new(ip, port, TOKEN).within(REQUEST))
    }

    /// The server at another node.
    #[must_use]
    pub fn moved_to(&self, ip: impl Into<IpAddr>) -> Self {
        Self(self.0.moved_to(ip))
    }

    /// Waits until it answers.
    #[track_caller]
    pub fn wait_up(&self) {
        self.0.wait_up(SOON).unwrap();
    }

    /// Starts a kernel; its id.
    #[track_caller]
    pub fn start_kernel(&self) -> String {
        self.0.start_kernel().unwrap()
    }

    /// Ids of the kernels that it knows.
    #[track_caller]
    pub fn kernels(&self) -> Vec<String> {
        self.0.kernels().unwrap()
    }

    /// Connects to a kernel, and asks it what it is as a browser does.
    #[track_caller]
    pub fn connect(&self, kernel: &str) -> Kernel {
        let connect = || Ok(Some(self.0.kernel(kernel, WINDOW)?));
        let mut kernel = wait_for("a connection to a kernel", SOON, connect).unwrap();
        kernel.send("kernel_info_request", &json!({})).unwrap();
        Kernel(kernel)
    }

    /// Starts a terminal; its name.
    #[track_caller]
    pub fn start_terminal(&self) -> String {
        self.0.start_terminal().unwrap()
    }

    /// Connects to a terminal.
    #[track_caller]
    pub fn terminal(&self, name: &str) -> Terminal {
        let connect = || Ok(Some(self.0.terminal(name)?));
        Terminal(wait_for("a connection to a terminal", SOON, connect).unwrap())
    }
}

/// A kernel, as the window is connected to it.
pub struct Kernel(jupyter::Kernel);

impl Kernel {
    /// Sends a cell and does not wait for it.
    #[track_caller]
    pub fn begin(&mut self, code: &str) -> Cell {
        self.0.begin(code).unwrap()
    }

    /// Runs a cell to its end; what it printed.
    #[track_caller]
    pub fn run(&mut self, code: &str) -> String {
        let mut cell = self.begin(code);
        self.finish(&mut cell, SOON);
        cell.text
    }

    /// Collects what a cell prints until it ends.
    #[track_caller]
    pub fn finish(&mut self, cell: &mut Cell, timeout: Duration) {
        let ended = self.0.finish(cell, timeout);
        assert!(ended.is_ok(), "the cell did not end: {ended:?}; it printed {:?}", cell.text);
    }

    /// Collects what a cell prints until `enough` of it has come.
    #[track_caller]
    pub fn watch(&mut self, cell: &mut Cell, enough: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + SOON;
        while !enough(&cell.text) {
            let heard = self.0.hear(cell, deadline);
            let more = heard.is_ok() && !cell.ended;
            assert!(more, "the cell printed too little ({heard:?}): {:?}", cell.text);
        }
    }

    /// Collects what a cell prints until the connection breaks.
    #[track_caller]
    pub fn watch_until_broken(&mut self, cell: &mut Cell, timeout: Duration) -> Error {
        self.0.finish(cell, timeout).expect_err("the connection breaks before the cell ends")
    }
}

/// A terminal, as the window is connected to it.
pub struct Terminal(jupyter::Terminal);

impl Terminal {
    /// Types a line, and waits until `until` is on the screen; all that came.
    #[track_caller]
    pub fn type_line(&mut self, line: &str, until: &str) -> String {
        self.0.type_line(line).unwrap();
        let found = self.0.wait_for(SOON, |screen| screen.contains(until).then_some(()));
        assert!(found.is_ok(), "no {until:?} but {found:?}: {:?}", self.0.screen);
        self.0.screen.clone()
    }
}
