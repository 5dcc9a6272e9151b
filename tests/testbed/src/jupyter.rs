//! Speaking with a Jupyter server as a browser does: its REST interface, a kernel's WebSocket, a terminal's.
//!
//! Everything is bounded, and nothing reconnects by itself: a connection that breaks is what a preemption looks like
//! from outside, and the caller says where to go on. The messages are those of the Jupyter protocol 5, as JSON.

use std::io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::{ClientRequestBuilder, HandshakeError, Message, WebSocket};

use crate::wait::wait_until;

/// How long a connection may take to come about, and one look at a server that may not be up yet.
const CONNECT: Duration = Duration::from_secs(3);
/// How long an answer may take if nothing else is said.
const PATIENCE: Duration = Duration::from_secs(60);

/// The result of what is asked of a server.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a server, a kernel or a terminal gave no answer, or not the right one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A request failed on its way.
    #[error("{method} {url}: {source}")]
    Http {
        /// The request's method.
        method: &'static str,
        /// The address, without the token.
        url: String,
        /// Why not.
        source: Box<ureq::Error>,
    },
    /// The server answered with something else than success.
    #[error("{method} {url}: status {status}: {body}")]
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
    /// A connection did not come about, or ended.
    #[error("no connection to {url}: {why}")]
    Gone {
        /// The address, without the token.
        url: String,
        /// Why not.
        why: String,
    },
    /// A connection stands, but what was waited for did not come in time.
    #[error("waited in vain for an answer from {url}")]
    Late {
        /// The address, without the token.
        url: String,
    },
    /// Code that was run in a kernel raised an exception.
    #[error("the kernel raised {exception}")]
    Raised {
        /// Its name, and what it says.
        exception: String,
        /// Where it was raised, as a browser would show it.
        traceback: Value,
    },
    /// Something answered, but not what it should.
    #[error("expected {what}, got {got}")]
    Unexpected {
        /// What was expected.
        what: &'static str,
        /// What came.
        got: String,
    },
}

/// A server: where it is, and the token that opens it. It may or may not be there yet.
#[derive(Debug, Clone)]
pub struct Server {
    address: SocketAddr,
    token: String,
    patience: Duration,
}

impl Server {
    /// The server behind a node's port.
    pub fn new(ip: impl Into<IpAddr>, port: u16, token: &str) -> Self {
        Self { address: (ip.into(), port).into(), token: token.to_owned(), patience: PATIENCE }
    }

    /// The same server behind the same port of another node.
    #[must_use]
    pub fn moved_to(&self, ip: impl Into<IpAddr>) -> Self {
        Self { address: (ip.into(), self.address.port()).into(), ..self.clone() }
    }

    /// The same server, which has this long for an answer to a request, and to a WebSocket's handshake.
    #[must_use]
    pub fn within(&self, patience: Duration) -> Self {
        Self { patience, ..self.clone() }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until it answers.
    ///
    /// # Errors
    /// [`crate::Error::Timeout`] with what it said last.
    pub fn wait_up(&self, timeout: Duration) -> crate::Result<()> {
        let server = self.within(CONNECT);
        wait_until(&format!("Jupyter to answer at {}", self.address), timeout, || {
            Ok(server.request("GET", "status", None).map(|_| true)?)
        })
    }

    /// Asks its REST interface for a path below `/api/`, with something to put there if need be.
    ///
    /// # Errors
    /// When it does not answer with JSON and success.
    pub fn request(&self, method: &'static str, path: &str, body: Option<&Value>) -> Result<Value> {
        let url = format!("http://{}/api/{path}", self.address);
        let fail = |source| Error::Http { method, url: url.clone(), source: Box::new(source) };
        // A new agent each time: a connection that was kept would be the one to a node that is gone.
        let config = ureq::Agent::config_builder()
            .timeout_connect(Some(CONNECT))
            .timeout_global(Some(self.patience))
            .http_status_as_error(false)
            .proxy(None);
        let agent: ureq::Agent = config.build().into();
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(&url)
            .header("Authorization", self.authorization())
            .header("Content-Type", "application/json")
            .body(body.map(Value::to_string).unwrap_or_default());
        let answer = request.map_err(ureq::Error::from).and_then(|request| agent.run(request));
        let mut answer = answer.map_err(fail)?;
        let body = answer.body_mut().read_to_string().map_err(fail)?;
        if !answer.status().is_success() {
            return Err(Error::Status { method, url, status: answer.status().as_u16(), body });
        }
        parse(&body)
    }

    /// Starts a kernel; its id.
    ///
    /// # Errors
    /// When the server does not answer with one.
    pub fn start_kernel(&self) -> Result<String> {
        text(&self.request("POST", "kernels", None)?["id"], "a kernel's id")
    }

    /// Ids of the kernels that it knows.
    ///
    /// # Errors
    /// When the server does not answer with them.
    pub fn kernels(&self) -> Result<Vec<String>> {
        let answer = self.request("GET", "kernels", None)?;
        let kernels = answer.as_array().ok_or_else(|| unexpected("a list of kernels", &answer))?;
        kernels.iter().map(|kernel| text(&kernel["id"], "a kernel's id")).collect()
    }

    /// Starts a terminal; its name.
    ///
    /// # Errors
    /// When the server does not answer with one.
    pub fn start_terminal(&self) -> Result<String> {
        text(&self.request("POST", "terminals", None)?["name"], "a terminal's name")
    }

    /// Connects to a kernel as a browser window. The server keeps what the kernel says while the window is away, and
    /// hands it over when the same one is back.
    ///
    /// # Errors
    /// When there is no connection.
    pub fn kernel(&self, id: &str, window: &str) -> Result<Kernel> {
        let socket = self.socket(&format!("/api/kernels/{id}/channels?session_id={window}"))?;
        Ok(Kernel { socket, window: window.to_owned() })
    }

    /// Connects to a terminal.
    ///
    /// # Errors
    /// When there is no connection.
    pub fn terminal(&self, name: &str) -> Result<Terminal> {
        Ok(Terminal { socket: self.socket(&format!("/terminals/websocket/{name}"))?, screen: String::new() })
    }

    fn socket(&self, path: &str) -> Result<Socket> {
        let url = format!("ws://{}{path}", self.address);
        let connect = || {
            let stream = TcpStream::connect_timeout(&self.address, CONNECT)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(self.patience))?;
            Ok(stream)
        };
        let stream = connect().map_err(|error: std::io::Error| gone(&url, &error))?;
        let uri = url.parse().map_err(|error: tungstenite::http::uri::InvalidUri| gone(&url, &error))?;
        let request = ClientRequestBuilder::new(uri).with_header("Authorization", self.authorization());
        match tungstenite::client(request, stream) {
            Ok((socket, _)) => Ok(Socket { socket, url }),
            Err(HandshakeError::Failure(error)) => Err(gone(&url, &error)),
            Err(HandshakeError::Interrupted(_)) => Err(Error::Late { url }),
        }
    }

    fn authorization(&self) -> String {
        format!("token {}", self.token)
    }
}

/// A kernel, as one browser window is connected to it.
pub struct Kernel {
    socket: Socket,
    window: String,
}

/// A cell that was sent to a kernel. It outlives the connection: a later one of the same window can go on with it.
#[derive(Debug, Clone)]
pub struct Cell {
    id: String,
    /// What it printed so far, and the value of its last line.
    pub text: String,
    /// Whether it has come to its end.
    pub ended: bool,
}

impl Kernel {
    /// Sends a message; its id.
    ///
    /// # Errors
    /// [`Error::Gone`].
    pub fn send(&mut self, kind: &str, content: &Value) -> Result<String> {
        // A kernel refuses to hear the same thing twice.
        static SENT: AtomicU32 = AtomicU32::new(0);
        let id = format!("{}-{kind}-{}", self.window, SENT.fetch_add(1, Ordering::Relaxed));
        let header = json!({ "msg_id": id, "msg_type": kind, "username": "", "session": self.window, "date": "",
            "version": "5.3" });
        self.socket
            .send(&json!({ "header": header, "parent_header": {}, "metadata": {}, "content": content,
            "channel": "shell", "buffers": [] }))?;
        Ok(id)
    }

    /// The next message, whatever it is about.
    ///
    /// # Errors
    /// [`Error::Late`] or [`Error::Gone`].
    pub fn message(&mut self, deadline: Instant) -> Result<Value> {
        self.socket.read(deadline)
    }

    /// Sends a cell and does not wait for it.
    ///
    /// # Errors
    /// [`Error::Gone`].
    pub fn begin(&mut self, code: &str) -> Result<Cell> {
        let content = json!({ "code": code, "silent": false, "store_history": true, "user_expressions": {},
            "allow_stdin": false, "stop_on_error": true });
        Ok(Cell { id: self.send("execute_request", &content)?, text: String::new(), ended: false })
    }

    /// Reads one message, and notes it if it is about the cell.
    ///
    /// # Errors
    /// [`Error::Late`], [`Error::Gone`], or [`Error::Raised`] by the cell.
    pub fn hear(&mut self, cell: &mut Cell, deadline: Instant) -> Result<()> {
        let message = self.message(deadline)?;
        if message["parent_header"]["msg_id"] != *cell.id {
            return Ok(());
        }
        let content = &message["content"];
        let printed = match message["header"]["msg_type"].as_str().unwrap_or_default() {
            "stream" if content["name"] == "stdout" => &content["text"],
            "execute_result" => &content["data"]["text/plain"],
            "error" => {
                let word = |name: &str| content[name].as_str().unwrap_or_default();
                let exception = format!("{}: {}", word("ename"), word("evalue"));
                return Err(Error::Raised { exception, traceback: content["traceback"].clone() });
            }
            "status" => {
                cell.ended = content["execution_state"] == "idle";
                return Ok(());
            }
            _ => return Ok(()),
        };
        cell.text.push_str(printed.as_str().unwrap_or_default());
        Ok(())
    }

    /// Collects what a cell prints until it ends.
    ///
    /// # Errors
    /// As [`Kernel::hear`].
    pub fn finish(&mut self, cell: &mut Cell, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        while !cell.ended {
            self.hear(cell, deadline)?;
        }
        Ok(())
    }

    /// Runs a cell to its end; what it printed.
    ///
    /// # Errors
    /// As [`Kernel::hear`].
    pub fn run(&mut self, code: &str, timeout: Duration) -> Result<String> {
        let mut cell = self.begin(code)?;
        self.finish(&mut cell, timeout)?;
        Ok(cell.text)
    }
}

/// A terminal, as a browser window is connected to it.
pub struct Terminal {
    socket: Socket,
    /// What came since a line was typed.
    pub screen: String,
}

impl Terminal {
    /// Types a line.
    ///
    /// # Errors
    /// [`Error::Gone`].
    pub fn type_line(&mut self, line: &str) -> Result<()> {
        self.screen.clear();
        self.socket.send(&json!(["stdin", format!("{line}\r")]))
    }

    /// Reads until something is found on the screen.
    ///
    /// # Errors
    /// [`Error::Late`] or [`Error::Gone`].
    pub fn wait_for<T>(&mut self, timeout: Duration, find: impl Fn(&str) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(found) = find(&self.screen) {
                return Ok(found);
            }
            let message = self.socket.read(deadline)?;
            if message[0] == "stdout" {
                self.screen.push_str(message[1].as_str().unwrap_or_default());
            }
        }
    }
}

struct Socket {
    socket: WebSocket<TcpStream>,
    url: String,
}

impl Socket {
    fn send(&mut self, value: &Value) -> Result<()> {
        self.socket.send(Message::text(value.to_string())).map_err(|error| gone(&self.url, &error))
    }

    fn read(&mut self, deadline: Instant) -> Result<Value> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::Late { url: self.url.clone() });
            }
            self.socket.get_ref().set_read_timeout(Some(left)).map_err(|error| gone(&self.url, &error))?;
            match self.socket.read() {
                Ok(Message::Text(text)) => return parse(&text),
                Ok(Message::Close(why)) => return Err(gone(&self.url, &format!("closed: {why:?}"))),
                Ok(_) => {}
                Err(tungstenite::Error::Io(error))
                    if matches!(error.kind(), WouldBlock | TimedOut | Interrupted) => {}
                Err(error) => return Err(gone(&self.url, &error)),
            }
        }
    }
}

fn gone(url: &str, why: &impl ToString) -> Error {
    Error::Gone { url: url.to_owned(), why: why.to_string() }
}

fn unexpected(what: &'static str, got: &impl ToString) -> Error {
    Error::Unexpected { what, got: got.to_string() }
}

fn parse(json: &str) -> Result<Value> {
    serde_json::from_str(json).map_err(|_| unexpected("JSON", &json))
}

fn text(value: &Value, what: &'static str) -> Result<String> {
    value.as_str().map(str::to_owned).ok_or_else(|| unexpected(what, value))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    /// A kernel that answers the first cell, is silent to the second, and is gone with the third.
    fn serve(listener: &TcpListener) {
        let mut socket = tungstenite::accept(listener.accept().unwrap().0).unwrap();
        let asked: Value = serde_json::from_str(socket.read().unwrap().to_text().unwrap()).unwrap();
        let mut say = |to: &Value, kind: &str, content: Value| {
            let message = json!({ "parent_header": to, "header": { "msg_type": kind }, "content": content });
            socket.send(Message::text(message.to_string())).unwrap();
        };
        let stream = |name: &str, text: &str| json!({ "name": name, "text": text });
        say(&json!({ "msg_id": "another" }), "stream", stream("stdout", "of another cell"));
        say(&asked["header"], "status", json!({ "execution_state": "busy" }));
        say(&asked["header"], "stream", stream("stderr", "a warning"));
        say(&asked["header"], "stream", stream("stdout", "6 * 7 is "));
        say(&asked["header"], "execute_result", json!({ "data": { "text/plain": "42" } }));
        say(&asked["header"], "status", json!({ "execution_state": "idle" }));
        socket.read().unwrap();
        socket.read().unwrap();
    }

    #[test]
    fn a_kernel_answers_or_is_late_or_is_gone() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::new(address.ip(), address.port(), "a-token").within(SOON);
        thread::scope(|scope| {
            scope.spawn(|| serve(&listener));
            let mut kernel = server.kernel("a-kernel", "a-window").unwrap();
            assert_eq!(kernel.run("6 * 7", SOON).unwrap(), "6 * 7 is 42");
            let late = kernel.run("sleep", Duration::from_millis(50)).unwrap_err();
            assert!(matches!(late, Error::Late { .. }), "{late}");
            let gone = kernel.run("exit", SOON).unwrap_err();
            assert!(matches!(gone, Error::Gone { .. }) && !gone.to_string().contains("a-token"), "{gone}");
        });
    }
}
