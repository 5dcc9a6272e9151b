//! Alice's session: a Jupyter server with two notebooks and a terminal, and what can be asked of it.
//!
//! The notebook `data` holds an array and an open file that a thread goes on writing. The notebook `loop` runs a cell
//! that counts aloud and never ends. Everything is code that anybody could have typed; nothing of it knows that it
//! will be moved.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stasis_testbed::artifacts::random_hex;
use stasis_testbed::jupyter::{Server, Terminal};
use stasis_testbed::wait_until;

use crate::error::{Error, Result};
use crate::listener::Listener;

/// The port that the session listens on, and that its node offers.
pub const PORT: u16 = 8888;
/// The file that the notebook `data` writes, in alice's home.
pub const FILE: &str = "measurements.csv";
/// How long an answer of the kernel or the shell may take.
const ANSWER: Duration = Duration::from_secs(60);
/// The shell variable in the terminal.
const VARIABLE: &str = "mood=curious";
const FILL: &str = "\
import hashlib, json, numpy, os, socket, threading, time
array = numpy.random.default_rng().random(SIZE // 8)  # noise, which nothing compresses
def checksum():
    return hashlib.blake2b(array, digest_size=8).hexdigest()
print(checksum())";
const WRITE: &str = "\
file, lines = open('measurements.csv', 'w', buffering=1), 0
def measure():
    global lines
    while True:
        file.write(f'{lines + 1},{time.monotonic():.6f}\\n')
        lines += 1
        time.sleep(0.05)
threading.Thread(target=measure, daemon=True).start()";
const COUNT: &str = "\
import itertools, time
for number in itertools.count(1):
    print(f'tick {number}', flush=True)
    time.sleep(0.1)";
const FACTS: &str = "\
print(json.dumps({
    'checksum': checksum(), 'pid': os.getpid(), 'host': socket.gethostname(), 'lines': lines,
    'file': os.readlink(f'/proc/self/fd/{file.fileno()}'), 'fd': file.fileno(),
    'inode': os.fstat(file.fileno()).st_ino, 'monotonic_s': time.monotonic(),
}))";

/// The batch script. The token is all that keeps other users of the cluster out.
pub fn script(token: &str) -> String {
    format!(
        "#!/bin/bash\ncd\nexport JUPYTER_TOKEN={token}\n\
         exec jupyter lab --ip=0.0.0.0 --port={PORT} --no-browser --ServerApp.root_dir=\"$HOME\"\n"
    )
}

/// What the session is like at some moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Facts {
    /// Ids of the kernels of the notebooks `data` and `loop`.
    pub kernels: [String; 2],
    /// What the kernel of `data` says of itself.
    pub data: Data,
    /// The last number that the loop has printed.
    pub tick: u32,
    /// The shell's variable and its pid, as the shell in the terminal expands them.
    pub shell: String,
}

/// What the kernel of the notebook `data` says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Data {
    /// Checksum of the array.
    pub checksum: String,
    /// The kernel's pid.
    pub pid: u32,
    /// The node's name.
    pub host: String,
    /// Lines written to the file.
    pub lines: u32,
    /// The path that the open file has in /proc.
    pub file: String,
    /// The descriptor of the open file.
    pub fd: u32,
    /// Its inode.
    pub inode: u64,
    /// What `CLOCK_MONOTONIC` shows.
    pub monotonic_s: f64,
}

/// The session as its user has it open in a browser.
pub struct Session {
    /// The server.
    pub server: Server,
    /// The browser's side of the notebook `loop`.
    pub listener: Listener,
    kernels: [String; 2],
    terminal: String,
    /// The browser's view of the terminal, while it has one.
    screen: Option<Terminal>,
    tab: String,
    asked: u32,
}

impl Session {
    /// Opens the two notebooks, and starts listening to the second one.
    pub fn open(server: Server, bytes: u64) -> Result<Self> {
        let fill = FILL.replace("SIZE", &bytes.to_string());
        for (name, cells) in
            [("data", [fill.as_str(), WRITE, "checksum(), lines"].as_slice()), ("loop", &[COUNT])]
        {
            server.request("PUT", &format!("contents/{name}.ipynb"), Some(&notebook(cells)))?;
        }
        let kernels = [open_notebook(&server, "data.ipynb")?, open_notebook(&server, "loop.ipynb")?];
        let listener = Listener::start(&server, &kernels[1], &random_hex(16)?);
        let tab = random_hex(16)?;
        Ok(Self { server, listener, kernels, terminal: String::new(), screen: None, tab, asked: 0 })
    }

    /// Makes the array; its checksum.
    pub fn fill(&self, bytes: u64) -> Result<String> {
        let printed = self.run(&FILL.replace("SIZE", &bytes.to_string()))?;
        Ok(printed.trim().to_owned())
    }

    /// Opens the file and has a thread write it.
    pub fn write_file(&self) -> Result<()> {
        self.run(WRITE).map(drop)
    }

    /// Has the loop begin, and waits until it has counted some way.
    pub fn count(&self, to: u32, patience: Duration) -> Result<u32> {
        self.listener.run(COUNT);
        self.wait_tick(to, patience)
    }

    /// Waits until the loop has counted to `to`, as the browser sees it.
    pub fn wait_tick(&self, to: u32, patience: Duration) -> Result<u32> {
        wait_until(&format!("the loop to count to {to}"), patience, || Ok(self.listener.last() >= to))?;
        Ok(self.listener.last())
    }

    /// Opens a terminal and sets a variable there; the variable.
    pub fn open_terminal(&mut self) -> Result<&'static str> {
        self.terminal = self.server.start_terminal()?;
        let mut screen = self.server.terminal(&self.terminal)?;
        screen.type_line(VARIABLE)?;
        self.screen = Some(screen);
        Ok(VARIABLE)
    }

    /// Waits until the session answers on another node, and goes on with it there.
    pub fn wait_there(&mut self, ip: Ipv4Addr, patience: Duration) -> Result<()> {
        self.server = self.server.moved_to(ip);
        self.server.wait_up(patience)?;
        self.screen = None;
        self.listener.move_to(&self.server);
        self.ask()
    }

    /// Has the kernel of `data` work something out: the shortest proof that it lives.
    pub fn ask(&self) -> Result<()> {
        let got = self.run("6 * 7")?;
        if got.trim() == "42" { Ok(()) } else { Err(Error::Unexpected { what: "42", got }) }
    }

    /// Asks everything.
    pub fn facts(&mut self) -> Result<Facts> {
        let running = self.server.kernels()?;
        let kernels =
            self.kernels.clone().map(|id| if running.contains(&id) { id } else { "gone".to_owned() });
        let printed = self.run(FACTS)?;
        let data = serde_json::from_str(printed.trim())
            .map_err(|_| Error::Unexpected { what: "facts from the kernel", got: printed.clone() })?;
        self.asked += 1;
        let mark = format!("answer-{}", self.asked);
        let screen = match &mut self.screen {
            Some(screen) => screen,
            closed => closed.insert(self.server.terminal(&self.terminal)?),
        };
        let shell = expand(screen, "mood=$mood, pid $$", &mark)?;
        Ok(Facts { kernels, data, tick: self.listener.last(), shell })
    }

    /// Has the kernel of `data` run code; what it printed.
    fn run(&self, code: &str) -> Result<String> {
        Ok(self.server.kernel(&self.kernels[0], &self.tab)?.run(code, ANSWER)?)
    }
}

/// Opens a notebook's session, which starts its kernel; the kernel's id.
fn open_notebook(server: &Server, path: &str) -> Result<String> {
    let body = json!({ "path": path, "name": path, "type": "notebook", "kernel": { "name": "python3" } });
    let answer = server.request("POST", "sessions", Some(&body))?;
    let id = answer["kernel"]["id"].as_str().map(str::to_owned);
    id.ok_or_else(|| Error::Unexpected { what: "a kernel's id", got: answer.to_string() })
}

/// Has the shell expand `words`, and reads what came of them. `mark` tells this answer from what was on the screen
/// before.
fn expand(screen: &mut Terminal, words: &str, mark: &str) -> Result<String> {
    // What the terminal echoes has a '%', so it is not taken for the answer.
    screen.type_line(&format!("printf '<%s|%s>\\n' {mark} \"{words}\""))?;
    let begin = format!("<{mark}|");
    let answer = |text: &str| Some(text.split_once(&begin)?.1.split_once('>')?.0.to_owned());
    Ok(screen.wait_for(ANSWER, answer)?)
}

/// A notebook file with these cells.
fn notebook(cells: &[&str]) -> Value {
    let cell = |(number, source): (usize, &&str)| {
        json!({ "cell_type": "code", "id": format!("cell-{number}"), "metadata": {}, "outputs": [],
                "execution_count": null, "source": source })
    };
    let cells: Vec<Value> = cells.iter().enumerate().map(cell).collect();
    let kernelspec = json!({ "name": "python3", "display_name": "Python 3", "language": "python" });
    let content = json!({ "cells": cells, "metadata": { "kernelspec": kernelspec }, "nbformat": 4, "nbformat_minor": 5 });
    json!({ "type": "notebook", "format": "json", "content": content })
}
