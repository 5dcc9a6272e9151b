//! A Jupyter client for measuring: it starts a kernel, runs cells, and finds out when a session that is on its way
//! back first answers. It can work from inside another network namespace, where a session that was restored by
//! hand listens.

use crate::workload::{PORT, TOKEN};
use anyhow::{Context, anyhow, bail, ensure};
use nix::sched::{CloneFlags, setns};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant, SystemTime};
use tungstenite::{Message, WebSocket};

/// How long one attempt to connect may take.
const CONNECT: Duration = Duration::from_secs(1);
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
    address: SocketAddr,
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
        Self { address: (ip, PORT).into(), namespace: None }
    }

    /// A server on the loopback device of a network namespace.
    pub fn inside(namespace: PathBuf) -> Self {
        Self { address: (Ipv4Addr::LOCALHOST, PORT).into(), namespace: Some(namespace) }
    }

    /// Waits until it answers, and starts a kernel; its id.
    pub fn start_kernel(&self) -> anyhow::Result<String> {
        self.there(|| {
            let kernel = self.until_it_works(|| self.post("/api/kernels"))?;
            kernel["id"]
                .as_str()
                .map(str::to_owned)
                .with_context(|| format!("a kernel without an id: {kernel}"))
        })
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
                    return Err(error.context(format!("no session at {} after {PATIENCE:?}", self.address)));
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

    fn connect(&self) -> anyhow::Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&self.address, CONNECT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(HANDSHAKE))?;
        Ok(stream)
    }

    fn post(&self, path: &str) -> anyhow::Result<Value> {
        let mut stream = self.connect()?;
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: token {TOKEN}\r\nConnection: close\r\n\
             Content-Length: 0\r\n\r\n",
            self.address
        )?;
        stream.set_read_timeout(Some(ANSWER))?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("half an answer")?;
        let status = head.split_whitespace().nth(1).unwrap_or_default();
        ensure!(status.starts_with('2'), "{path}: {}", head.lines().next().unwrap_or_default());
        Ok(serde_json::from_str(body)?)
    }

    fn ask(&self, kernel: &str, code: &str) -> anyhow::Result<String> {
        let url =
            format!("ws://{}/api/kernels/{kernel}/channels?session_id=bench&token={TOKEN}", self.address);
        let (mut socket, _) =
            tungstenite::client(&url, self.connect()?).map_err(|error| anyhow!("no handshake: {error}"))?;
        let id = format!("{:?}", SystemTime::now());
        socket.send(Message::text(request(&id, code).to_string()))?;
        socket.get_ref().set_read_timeout(Some(ANSWER))?;
        answer(&mut socket, &id)
    }
}

fn request(id: &str, code: &str) -> Value {
    let header = json!({ "msg_id": id, "msg_type": "execute_request", "username": "", "session": "bench",
        "date": "", "version": "5.3" });
    let content = json!({ "code": code, "silent": false, "store_history": false, "user_expressions": {},
        "allow_stdin": false, "stop_on_error": true });
    json!({ "header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell",
        "buffers": [] })
}

/// What the cell printed, once it has ended.
fn answer(socket: &mut WebSocket<TcpStream>, id: &str) -> anyhow::Result<String> {
    let mut printed = String::new();
    loop {
        let Message::Text(text) = socket.read()? else { continue };
        let message: Value = serde_json::from_str(&text)?;
        if message["parent_header"]["msg_id"] != id {
            continue;
        }
        let content = &message["content"];
        match message["msg_type"].as_str().unwrap_or_default() {
            "stream" if content["name"] == "stdout" => {
                printed.push_str(content["text"].as_str().unwrap_or_default());
            }
            "error" => bail!("the cell failed: {}", content["evalue"]),
            "status" if content["execution_state"] == "idle" => return Ok(printed.trim().to_owned()),
            _ => {}
        }
    }
}
