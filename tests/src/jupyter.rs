//! A Jupyter client as small as the suites need: what a browser does to start kernels and terminals, run cells in
//! them, lose the connection, and connect again as the same browser window.
//!
//! The messages are those of the Jupyter protocol 5, as JSON over a WebSocket.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stasis_testbed::{wait_for, wait_until};
use tungstenite::{Error as SocketError, Message, WebSocket};

use crate::SOON;

/// The token that [`SERVER`] lets in.
pub const TOKEN: &str = "a-token-of-the-suites";
/// The port that [`SERVER`] listens on.
pub const PORT: u16 = 8888;
/// A batch script that runs JupyterLab.
pub const SERVER: &str = "#!/bin/bash
jupyter lab --no-browser --ip=0.0.0.0 --port=8888 --ServerApp.port_retries=0 \
  --IdentityProvider.token=a-token-of-the-suites --ServerApp.root_dir=\"$HOME\"
";
/// How long one read waits before the deadline is looked at.
const READ_PAUSE: Duration = Duration::from_millis(100);
/// How long the network may take to answer a request.
const REQUEST: Duration = Duration::from_secs(20);

/// Why a connection gave no more.
#[derive(Debug)]
pub enum Broken {
    /// The connection ended.
    Gone(String),
    /// Nothing more came in time.
    Late,
}

/// A server, at the node where it is now.
#[derive(Debug, Clone)]
pub struct Server {
    address: SocketAddr,
    /// What a browser window calls itself: the server keeps what came while the window was away.
    window: String,
}

impl Server {
    /// The server behind a node's port.
    pub fn at(ip: impl Into<IpAddr>, port: u16) -> Self {
        Self { address: (ip.into(), port).into(), window: "window-1".into() }
    }

    /// The same window of the same browser, with the server at another node.
    #[must_use]
    pub fn moved_to(&self, ip: impl Into<IpAddr>) -> Self {
        Self { address: (ip.into(), self.address.port()).into(), window: self.window.clone() }
    }

    /// Waits until it answers.
    #[track_caller]
    pub fn wait_up(&self) {
        let what = format!("Jupyter to answer at {}", self.address);
        let answers = || self.request("GET", "status").map(|_| true).map_err(not_yet);
        wait_until(&what, SOON, answers).unwrap();
    }

    /// Asks its REST interface.
    ///
    /// # Errors
    /// What went wrong.
    pub fn request(&self, method: &str, path: &str) -> Result<Value, String> {
        let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(REQUEST)).build().into();
        let url = format!("http://{}/api/{path}", self.address);
        let authorization = format!("token {TOKEN}");
        let answer = match method {
            "POST" => agent.post(&url).header("Authorization", &authorization).send_empty(),
            _ => agent.get(&url).header("Authorization", &authorization).call(),
        };
        let mut answer = answer.map_err(|error| format!("{method} {url}: {error}"))?;
        let text = answer.body_mut().read_to_string().map_err(|error| error.to_string())?;
        serde_json::from_str(&text).map_err(|error| format!("{url}: {error}: {text}"))
    }

    /// Starts a kernel; its id.
    #[track_caller]
    pub fn start_kernel(&self) -> String {
        let kernel = self.request("POST", "kernels").unwrap();
        kernel["id"].as_str().expect("a kernel has an id").to_owned()
    }

    /// Ids of the kernels that it knows.
    #[track_caller]
    pub fn kernels(&self) -> Vec<String> {
        let kernels = self.request("GET", "kernels").unwrap();
        let ids = kernels.as_array().expect("a list of kernels").iter();
        ids.map(|kernel| kernel["id"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Connects to a kernel and waits until that answers.
    #[track_caller]
    pub fn connect(&self, kernel: &str) -> Kernel {
        let path = format!("/api/kernels/{kernel}/channels?session_id={}", self.window);
        let mut kernel = Kernel { socket: self.socket(&path), window: self.window.clone() };
        kernel.send("kernel_info_request", &json!({}));
        kernel
    }

    /// Starts a terminal; its name.
    #[track_caller]
    pub fn start_terminal(&self) -> String {
        let terminal = self.request("POST", "terminals").unwrap();
        terminal["name"].as_str().expect("a terminal has a name").to_owned()
    }

    /// Connects to a terminal.
    #[track_caller]
    pub fn terminal(&self, name: &str) -> Terminal {
        Terminal { socket: self.socket(&format!("/terminals/websocket/{name}")), seen: String::new() }
    }

    #[track_caller]
    fn socket(&self, path: &str) -> Socket {
        let separator = if path.contains('?') { '&' } else { '?' };
        let url = format!("ws://{}{path}{separator}token={TOKEN}", self.address);
        let connect = || {
            let stream = TcpStream::connect_timeout(&self.address, REQUEST).map_err(not_yet)?;
            stream.set_read_timeout(Some(REQUEST)).map_err(not_yet)?;
            let (socket, _) = tungstenite::client(&url, stream).map_err(not_yet)?;
            socket.get_ref().set_read_timeout(Some(READ_PAUSE)).map_err(not_yet)?;
            Ok(Some(Socket(socket)))
        };
        wait_for(&format!("a connection to {url}"), SOON, connect).unwrap()
    }
}

#[allow(clippy::needless_pass_by_value)] // as `map_err` hands it over
fn not_yet(error: impl ToString) -> stasis_testbed::Error {
    stasis_testbed::Error::Spec(error.to_string())
}

struct Socket(WebSocket<TcpStream>);

impl Socket {
    fn send(&mut self, value: &Value) -> Result<(), Broken> {
        self.0.send(Message::text(value.to_string())).map_err(|error| Broken::Gone(error.to_string()))
    }

    fn read(&mut self, deadline: Instant) -> Result<Value, Broken> {
        loop {
            match self.0.read() {
                Ok(Message::Text(text)) => {
                    return serde_json::from_str(&text).map_err(|error| Broken::Gone(error.to_string()));
                }
                Ok(Message::Close(why)) => return Err(Broken::Gone(format!("{why:?}"))),
                Ok(_) => {}
                Err(SocketError::Io(error)) if is_pause(&error) => {
                    if Instant::now() > deadline {
                        return Err(Broken::Late);
                    }
                }
                Err(error) => return Err(Broken::Gone(error.to_string())),
            }
        }
    }
}

fn is_pause(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

/// A kernel, as one browser window is connected to it.
pub struct Kernel {
    socket: Socket,
    window: String,
}

/// A cell that was sent to a kernel.
#[derive(Debug, Clone)]
pub struct Cell {
    id: String,
    /// What it printed so far, and the value of its last line.
    pub text: String,
}

impl Kernel {
    fn send(&mut self, kind: &str, content: &Value) -> String {
        // A kernel refuses to hear the same thing twice.
        static SENT: AtomicU32 = AtomicU32::new(0);
        let id = format!("{}-{kind}-{}", self.window, SENT.fetch_add(1, Ordering::Relaxed));
        let header = json!({ "msg_id": id, "msg_type": kind, "username": "", "session": self.window,
            "date": "2026-01-01T00:00:00Z", "version": "5.3" });
        let message = json!({ "header": header, "parent_header": {}, "metadata": {}, "content": content,
            "channel": "shell", "buffers": [] });
        self.socket.send(&message).unwrap_or_else(|error| panic!("cannot send to the kernel: {error:?}"));
        id
    }

    /// Sends a cell and does not wait for it.
    #[track_caller]
    pub fn begin(&mut self, code: &str) -> Cell {
        let content = json!({ "code": code, "silent": false, "store_history": true,
            "user_expressions": {}, "allow_stdin": false, "stop_on_error": true });
        Cell { id: self.send("execute_request", &content), text: String::new() }
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
        let deadline = Instant::now() + timeout;
        loop {
            match self.step(cell, deadline) {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => panic!("the cell did not end: {error:?}; it printed {:?}", cell.text),
            }
        }
    }

    /// Collects what a cell prints until `enough` of it has come.
    #[track_caller]
    pub fn watch(&mut self, cell: &mut Cell, enough: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + SOON;
        while !enough(&cell.text) {
            match self.step(cell, deadline) {
                Ok(false) => {}
                other => panic!("the cell printed too little ({other:?}): {:?}", cell.text),
            }
        }
    }

    /// Collects what a cell prints until the connection breaks.
    pub fn watch_until_broken(&mut self, cell: &mut Cell, timeout: Duration) -> Broken {
        let deadline = Instant::now() + timeout;
        loop {
            if Instant::now() > deadline {
                return Broken::Late;
            }
            match self.step(cell, deadline) {
                Err(broken) => return broken,
                Ok(ended) => assert!(!ended, "the cell ended before the connection broke"),
            }
        }
    }

    /// Reads one message; whether the cell has ended.
    fn step(&mut self, cell: &mut Cell, deadline: Instant) -> Result<bool, Broken> {
        if Instant::now() > deadline {
            return Err(Broken::Late);
        }
        let message = self.socket.read(deadline)?;
        if message["parent_header"]["msg_id"].as_str() != Some(&cell.id) {
            return Ok(false);
        }
        let content = &message["content"];
        match message["msg_type"].as_str().or(message["header"]["msg_type"].as_str()).unwrap_or_default() {
            "stream" => cell.text.push_str(content["text"].as_str().unwrap_or_default()),
            "execute_result" => {
                cell.text.push_str(content["data"]["text/plain"].as_str().unwrap_or_default());
            }
            "error" => panic!("the cell failed: {}", content["traceback"]),
            "status" => return Ok(content["execution_state"] == "idle"),
            _ => {}
        }
        Ok(false)
    }
}

/// A terminal, as a browser window is connected to it.
pub struct Terminal {
    socket: Socket,
    seen: String,
}

impl Terminal {
    /// Types a line, and waits until `until` is on the screen; all that came.
    #[track_caller]
    pub fn type_line(&mut self, line: &str, until: &str) -> String {
        self.seen.clear();
        self.socket.send(&json!(["stdin", format!("{line}\r")])).expect("the terminal takes input");
        let deadline = Instant::now() + SOON;
        while !self.seen.contains(until) {
            let message = self.socket.read(deadline);
            let message =
                message.unwrap_or_else(|error| panic!("no {until:?} but {error:?}: {:?}", self.seen));
            if message[0] == "stdout" {
                self.seen.push_str(message[1].as_str().unwrap_or_default());
            }
        }
        self.seen.clone()
    }
}
