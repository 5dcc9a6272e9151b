//! Speaking with a Jupyter server as a browser does: its HTTP interface, a kernel's WebSocket, a terminal's.
//!
//! It waits with bounds and never reconnects by itself: a connection that breaks is what a preemption looks like
//! from outside, and the caller says where to go on.

use std::net::{SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderValue;
use tungstenite::{HandshakeError, Message, WebSocket};

use crate::artifacts::random_hex;
use crate::error::{Error, Result};

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(3);
/// How long an answer to a request may take.
const ANSWER: Duration = Duration::from_secs(60);
/// How long one look at a quiet WebSocket takes.
const LOOK: Duration = Duration::from_millis(20);

/// A Jupyter server: where it is, and the token that opens it.
#[derive(Debug, Clone)]
pub struct Server {
    /// Its address.
    pub address: SocketAddrV4,
    token: String,
    agent: ureq::Agent,
}

impl Server {
    /// A server that may or may not be there yet.
    pub fn new(address: SocketAddrV4, token: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_connect(Some(CONNECT))
            .timeout_global(Some(ANSWER))
            .http_status_as_error(false);
        Self { address, token: token.to_owned(), agent: config.build().into() }
    }

    /// The same session elsewhere. No connection is taken along.
    pub fn moved_to(&self, address: SocketAddrV4) -> Self {
        Self::new(address, &self.token)
    }

    /// Whether it answers within a second.
    pub fn answers(&self) -> bool {
        let url = format!("http://{}/api/status", self.address);
        let request = self.agent.get(&url).header("Authorization", self.authorization());
        let request = request.config().timeout_global(Some(Duration::from_secs(1))).build();
        request.call().is_ok_and(|answer| answer.status().is_success())
    }

    /// Asks for something.
    pub fn get(&self, path: &str) -> Result<Value> {
        let url = format!("http://{}{path}", self.address);
        let answer = self.agent.get(&url).header("Authorization", self.authorization()).call();
        self.read("GET", path, answer)
    }

    /// Creates something.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let url = format!("http://{}{path}", self.address);
        let request = self.agent.post(&url).header("Authorization", self.authorization());
        self.read("POST", path, request.content_type("application/json").send(body.to_string()))
    }

    /// Puts a file into the server's folder.
    pub fn put(&self, path: &str, body: &Value) -> Result<Value> {
        let url = format!("http://{}{path}", self.address);
        let request = self.agent.put(&url).header("Authorization", self.authorization());
        self.read("PUT", path, request.content_type("application/json").send(body.to_string()))
    }

    /// Opens a notebook's session, which starts its kernel; the kernel's id.
    pub fn open_notebook(&self, path: &str) -> Result<String> {
        let body = json!({ "path": path, "name": path, "type": "notebook", "kernel": { "name": "python3" } });
        let answer = self.post("/api/sessions", &body)?;
        text(&answer["kernel"]["id"], "a kernel's id")
    }

    /// Ids of the kernels that run.
    pub fn kernels(&self) -> Result<Vec<String>> {
        let answer = self.get("/api/kernels")?;
        let kernels = answer.as_array().map(Vec::as_slice).unwrap_or_default();
        kernels.iter().map(|kernel| text(&kernel["id"], "a kernel's id")).collect()
    }

    /// Opens a terminal; its name.
    pub fn open_terminal(&self) -> Result<String> {
        text(&self.post("/api/terminals", &json!({}))?["name"], "a terminal's name")
    }

    /// Connects with a kernel. A connection with the `session` of an earlier one gets what the kernel said meanwhile.
    pub fn kernel(&self, id: &str, session: &str) -> Result<Kernel> {
        let path = format!("/api/kernels/{id}/channels?session_id={session}");
        let socket = self.socket(&path)?;
        Ok(Kernel { socket, path, session: session.to_owned(), sent: 0 })
    }

    /// Connects with a terminal.
    pub fn terminal(&self, name: &str) -> Result<Terminal> {
        let path = format!("/terminals/websocket/{name}");
        Ok(Terminal { socket: self.socket(&path)?, path })
    }

    fn socket(&self, path: &str) -> Result<WebSocket<TcpStream>> {
        let fail = |error: tungstenite::Error| Error::socket(path)(error);
        let stream = TcpStream::connect_timeout(&self.address.into(), CONNECT).map_err(|e| fail(e.into()))?;
        stream.set_read_timeout(Some(ANSWER)).map_err(|e| fail(e.into()))?;
        let mut request = format!("ws://{}{path}", self.address).into_client_request().map_err(fail)?;
        let authorization = HeaderValue::from_str(&self.authorization()).map_err(|e| fail(e.into()))?;
        request.headers_mut().insert("Authorization", authorization);
        let (socket, _) = tungstenite::client(request, stream).map_err(|error| match error {
            HandshakeError::Failure(error) => fail(error),
            HandshakeError::Interrupted(_) => late("answer to a websocket's handshake", ANSWER),
        })?;
        socket.get_ref().set_read_timeout(Some(LOOK)).map_err(|e| fail(e.into()))?;
        Ok(socket)
    }

    fn authorization(&self) -> String {
        format!("token {}", self.token)
    }

    fn read(
        &self,
        method: &'static str,
        path: &str,
        answer: std::result::Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Value> {
        let url = format!("{}{path}", self.address);
        let fail = |source| Error::Http { method, url: url.clone(), source: Box::new(source) };
        let mut answer = answer.map_err(fail)?;
        let body = answer.body_mut().read_to_string().map_err(fail)?;
        if !answer.status().is_success() {
            return Err(Error::Status { method, status: answer.status().as_u16(), url, body });
        }
        serde_json::from_str(&body).map_err(|_| Error::Unexpected { what: "JSON from Jupyter", got: body })
    }
}

/// A connection with a kernel.
pub struct Kernel {
    socket: WebSocket<TcpStream>,
    path: String,
    session: String,
    sent: u32,
}

impl Kernel {
    /// Has the kernel run code, and waits for the end of it; what it printed.
    pub fn run(&mut self, code: &str) -> Result<String> {
        let id = self.start(code)?;
        let (mut printed, deadline) = (String::new(), Instant::now() + ANSWER);
        while Instant::now() < deadline {
            let Some(message) = self.look()? else { continue };
            if message["parent_header"]["msg_id"] != id.as_str() {
                continue;
            }
            let content = &message["content"];
            match message["msg_type"].as_str().unwrap_or_default() {
                "stream" => printed.push_str(content["text"].as_str().unwrap_or_default()),
                "execute_result" => {
                    printed.push_str(content["data"]["text/plain"].as_str().unwrap_or_default());
                }
                "error" => return Err(Error::Raised(format!("{}: {}", content["ename"], content["evalue"]))),
                "status" if content["execution_state"] == "idle" => return Ok(printed),
                _ => {}
            }
        }
        Err(late("answer of the kernel", ANSWER))
    }

    /// Has the kernel run code, and does not wait; the id of the request.
    pub fn start(&mut self, code: &str) -> Result<String> {
        self.sent += 1;
        // Distinct also after a reconnection, for which counting starts anew.
        let id = format!("{}-{}-{}", self.session, self.sent, random_hex(4)?);
        let message = json!({
            "header": {
                "msg_id": id, "msg_type": "execute_request", "session": self.session, "username": "",
                "version": "5.3", "date": "",
            },
            "parent_header": {}, "metadata": {}, "channel": "shell", "buffers": [],
            "content": {
                "code": code, "silent": false, "store_history": true, "user_expressions": {},
                "allow_stdin": false, "stop_on_error": true,
            },
        });
        self.socket.send(Message::text(message.to_string())).map_err(Error::socket(&self.path))?;
        Ok(id)
    }

    /// The next message, if one comes before long.
    pub fn look(&mut self) -> Result<Option<Value>> {
        let Some(text) = look(&mut self.socket).map_err(Error::socket(&self.path))? else { return Ok(None) };
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|_| Error::Unexpected { what: "JSON from a kernel", got: text })
    }
}

/// A connection with a terminal.
pub struct Terminal {
    socket: WebSocket<TcpStream>,
    path: String,
}

impl Terminal {
    /// Types a line.
    pub fn type_line(&mut self, line: &str) -> Result<()> {
        let message = json!(["stdin", format!("{line}\r")]).to_string();
        self.socket.send(Message::text(message)).map_err(Error::socket(&self.path))
    }

    /// Has the shell expand `words`, and reads what came of them. `mark` tells this answer from what was on the screen
    /// before.
    pub fn expand(&mut self, words: &str, mark: &str) -> Result<String> {
        // What the terminal echoes has a '%', so it is not taken for the answer.
        self.type_line(&format!("printf '<%s|%s>\\n' {mark} \"{words}\""))?;
        let (begin, mut screen) = (format!("<{mark}|"), String::new());
        let deadline = Instant::now() + ANSWER;
        while Instant::now() < deadline {
            let Some(text) = look(&mut self.socket).map_err(Error::socket(&self.path))? else { continue };
            let message: Value = serde_json::from_str(&text).unwrap_or_default();
            if message[0] == "stdout" {
                screen.push_str(message[1].as_str().unwrap_or_default());
            }
            let answer = screen.split_once(&begin).and_then(|(_, rest)| rest.split_once('>'));
            if let Some((answer, _)) = answer {
                return Ok(answer.to_owned());
            }
        }
        Err(late("answer of the terminal", ANSWER))
    }
}

/// The next text message; nothing if none has come before long.
fn look(socket: &mut WebSocket<TcpStream>) -> std::result::Result<Option<String>, tungstenite::Error> {
    use std::io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    match socket.read() {
        Ok(Message::Text(text)) => Ok(Some(text.as_str().to_owned())),
        Ok(_) => Ok(None),
        Err(tungstenite::Error::Io(error)) if matches!(error.kind(), WouldBlock | TimedOut | Interrupted) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn text(value: &Value, what: &'static str) -> Result<String> {
    value.as_str().map(str::to_owned).ok_or_else(|| Error::Unexpected { what, got: value.to_string() })
}

fn late(what: &str, waited: Duration) -> Error {
    Error::Late { what: what.to_owned(), seconds: waited.as_secs() }
}
