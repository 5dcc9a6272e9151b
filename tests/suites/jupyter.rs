//! A person at work in JupyterLab: whatever a session holds must be there after its node was taken away, and the
//! browser must find it under the same ids.

use std::process::ExitCode;

use stasis_testbed::JobId;
use stasis_tests::jupyter::{Error, Kernel, PORT, SERVER, Server};
use stasis_tests::scripts::assert_counts;
use stasis_tests::{MOVE, Pair, SOON, Suite};

fn main() -> ExitCode {
    Suite::new("jupyter")
        .test("a_session_with_everything_survives_preemption", everything)
        .test("a_running_cell_loses_no_line_and_doubles_none", running_cell)
        .test("a_session_survives_three_preemptions_in_a_row", three_times)
        .test("two_users_on_one_node_and_one_port_are_preempted_at_once", two_users)
        .run()
}

const OPTIONS: [&str; 2] = ["--stasis=port=8888", "--mem=900"];

/// Starts a session and waits until Jupyter answers; where.
#[track_caller]
fn begin(pair: &Pair<'_>, user: &str, args: &[&str]) -> (JobId, String, Server) {
    let job = pair.submit(user, &[&OPTIONS, args].concat(), SERVER);
    let node = pair.wait_running(job);
    let server = Server::at(pair.node(&node).ip(), PORT);
    server.wait_up();
    (job, node, server)
}

/// Fills the kernel with state of every kind; each has its check in [`CHECK`].
const FILL: &str = r#"
import hashlib, json, numpy, os, signal, socket, sqlite3, subprocess, sys, threading, time
array = numpy.random.default_rng(7).random(9_000_000)
digest = lambda: hashlib.sha256(array).hexdigest()
before = digest()
home = os.path.expanduser(f'~/kernel-{os.getpid()}-{os.environ["SLURM_JOB_ID"]}')
os.makedirs(home)

counted, steps, running = 0, [], True
def count():
    global counted
    last = (time.monotonic(), time.time())
    while running:
        counted += 1
        log.write(f'{counted}\n'); log.flush()
        now = (time.monotonic(), time.time())
        steps.append((now[0] - last[0], now[1] - last[1]))
        last = now
        time.sleep(0.02)
log = open(f'{home}/log', 'w')
thread = threading.Thread(target=count)
thread.start()

child = subprocess.Popen([sys.executable, '-u', '-c', 'import sys\nfor line in sys.stdin: print("echo", line.strip())'],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
def ask(text):
    child.stdin.write(text + '\n'); child.stdin.flush()
    return child.stdout.readline().strip()
assert ask('one') == 'echo one'

database = sqlite3.connect(f'{home}/data.sqlite')
database.execute('create table t (x)')
database.execute('insert into t values (1)')
database.commit()
database.execute('insert into t values (2)')   # in a transaction that is open during the move

for folder in '/tmp', '/dev/shm':
    with open(f'{folder}/mine', 'w') as file: file.write(f'in {folder}')
shared = open('/dev/shm/open', 'w+'); shared.write('kept'); shared.flush(); os.unlink('/dev/shm/open')
ours, theirs = socket.socketpair(); ours.sendall(b'queued')
listener = socket.create_server(('127.0.0.1', 0))
caller = socket.create_connection(listener.getsockname()); called, _ = listener.accept()
caller.sendall(b'over loopback')
alarms = []
signal.signal(signal.SIGUSR2, lambda *_: alarms.append('usr2'))
print(os.getpid(), child.pid, before)
"#;

/// Looks at all of it after the move, and at the clocks.
const CHECK: &str = r"
assert digest() == before, 'the array'
seen = counted; time.sleep(0.3); assert counted > seen, 'the thread'
assert child.poll() is None and ask('two') == 'echo two', 'the subprocess'
assert database.execute('select x from t').fetchall() == [(1,), (2,)]; database.commit()
assert sqlite3.connect(f'{home}/data.sqlite').execute('select count(*) from t').fetchone() == (2,), 'sqlite'
for folder in '/tmp', '/dev/shm': assert open(f'{folder}/mine').read() == f'in {folder}', folder
shared.seek(0); assert shared.read() == 'kept', 'a deleted file that is open'
assert theirs.recv(100) == b'queued', 'a socket pair'
assert called.recv(100) == b'over loopback', 'a connection over loopback'
called.sendall(b'back'); assert caller.recv(100) == b'back'
os.kill(os.getpid(), signal.SIGUSR2); time.sleep(0.1); assert alarms == ['usr2'], 'a signal handler'
running = False; thread.join(); log.close()
lines = open(f'{home}/log').read().split()
assert lines == [str(n) for n in range(1, counted + 1)], 'the file that was being written'
assert all(monotonic >= 0 for monotonic, _ in steps), 'the monotonic clock went back'
monotonic, wall = max(steps, key=lambda step: step[1])
assert wall - monotonic > 1, f'away for {wall} s, and the monotonic clock jumped by {monotonic} s'
print(os.getpid(), child.pid, before)
";

fn everything(pair: &Pair<'_>) {
    let (job, node, server) = begin(pair, "alice", &[]);
    let id = server.start_kernel();
    let mut kernel = server.connect(&id);
    let before = kernel.run(FILL);
    let terminal = server.start_terminal();
    server
        .terminal(&terminal)
        .type_line("HELD=\"in the $(echo shell)\"; cd /tmp; echo \"ready\":$$", "ready:");
    let shell = server.terminal(&terminal).type_line("echo \"pid\"=$$. \"and\" that", "and that");
    // A request to start one that was tried again on a busy machine may have started two.
    let kernels = server.kernels();
    assert!(kernels.contains(&id));

    let there = pair.move_away(job);
    assert_eq!(there, pair.other(&node));
    let server = server.moved_to(pair.node(&there).ip());
    server.wait_up();
    assert_eq!(server.kernels(), kernels, "the kernels' ids");
    let mut kernel = server.connect(&id);
    assert_eq!(kernel.run(CHECK), before, "pids, and the array's sum");
    let mut screen = server.terminal(&terminal);
    assert!(screen.type_line("echo \"held=$HELD in $PWD\"", "held=in the shell in /tmp").contains("held="));
    assert_eq!(pid_in(&screen.type_line("echo \"pid\"=$$. \"and\" that", "and that")), pid_in(&shell));
    // And it works on as a new one would.
    let second = server.start_kernel();
    assert_eq!(server.connect(&second).run("print(6 * 7)").trim(), "42");
}

/// The pid that the shell put on the screen, after the echo of what was typed.
fn pid_in(screen: &str) -> Option<String> {
    let digits =
        |rest: &str| rest.split('.').next().filter(|pid| pid.parse::<u32>().is_ok()).map(str::to_owned);
    screen.split("pid=").find_map(digits)
}

const LOOP: &str = "
import time
for n in range(1, LAST + 1):
    print('line', n, flush=True)
    time.sleep(0.02)
";

/// The connection breaks and the same window connects again: the server keeps what came in between. Whether a line
/// is on its way at the very moment of the move is chance, so there are several moves.
fn running_cell(pair: &Pair<'_>) {
    let (job, node, server) = begin(pair, "alice", &[]);
    let id = server.start_kernel();
    let mut kernel = server.connect(&id);
    kernel.run("print('the kernel is up')");
    let mut cell = kernel.begin(&LOOP.replace("LAST", "900"));
    let mut node = node;
    for run in 1..=3 {
        let lines = cell.text.lines().count();
        kernel.watch(&mut cell, |text| text.lines().count() > lines + 50);
        let high = pair.preempt(&node);
        let broken = kernel.watch_until_broken(&mut cell, MOVE);
        assert!(
            matches!(broken, Error::Gone { .. }),
            "the browser learns that the server is gone: {broken:?}"
        );
        node = pair.wait_restored(job, run);
        kernel = server.moved_to(pair.node(&node).ip()).connect(&id);
        pair.cancel(high);
    }
    kernel.finish(&mut cell, SOON);
    let numbers: Vec<u32> =
        cell.text.lines().filter_map(|line| line.strip_prefix("line ")?.parse().ok()).collect();
    assert_eq!(numbers.len(), cell.text.lines().count(), "whole lines: {}", cell.text);
    assert_counts(&numbers);
    assert_eq!(numbers.len(), 900, "the cell ran to its end");
}

fn three_times(pair: &Pair<'_>) {
    let (job, _, mut server) = begin(pair, "alice", &[]);
    let id = server.start_kernel();
    server
        .connect(&id)
        .run("import numpy, os, time; held = numpy.arange(7_000_000); pid = os.getpid(); moves = 0");
    for round in 1..=3 {
        let there = pair.move_away(job);
        server = server.moved_to(pair.node(&there).ip());
        server.wait_up();
        assert_eq!(server.kernels(), [id.as_str()]);
        let check =
            "moves += 1; assert held.sum() == 24_499_996_500_000 and os.getpid() == pid; print(moves)";
        assert_eq!(server.connect(&id).run(check).trim(), round.to_string());
    }
    assert_eq!(pair.cluster.job(job).unwrap().restarts(), 3);
}

/// The second session finds its port taken on the node and is offered under another; both must end up on the
/// second node with what they held.
fn two_users(pair: &Pair<'_>) {
    let (alices, node, alice) = begin(pair, "alice", &[]);
    // With the other node taken, bob's session starts on alice's; and may come back on any.
    let elsewhere = pair.preempt(&pair.other(&node));
    pair.wait_running(elsewhere);
    let bobs = pair.submit("bob", &OPTIONS, SERVER);
    assert_eq!(pair.wait_running(bobs), node);
    pair.cancel(elsewhere);
    let bob = Server::at(pair.node(&node).ip(), outside_port(pair, bobs, &node));
    bob.wait_up();
    let mut held = Vec::new();
    for (server, word) in [(&alice, "alice's"), (&bob, "bob's")] {
        let id = server.start_kernel();
        server.connect(&id).run(&format!("held = \"{word}\"; import getpass"));
        held.push(id);
    }
    let high = pair.preempt(&node);
    for (job, id, user) in [(alices, &held[0], "alice"), (bobs, &held[1], "bob")] {
        let there = pair.wait_restored(job, 1);
        assert_eq!(there, pair.other(&node));
        let server = Server::at(pair.node(&there).ip(), outside_port(pair, job, &there));
        server.wait_up();
        assert_eq!(&server.kernels(), std::slice::from_ref(id));
        let said: String = Kernel::run(&mut server.connect(id), "print(held, getpass.getuser())");
        assert_eq!(said.trim(), format!("{user}'s {user}"));
    }
    assert_eq!(pair.cluster.job_state(high).unwrap(), "RUNNING");
}

/// The node's port that leads to a session's 8888, from what the session's last start or restore on it reported.
#[track_caller]
fn outside_port(pair: &Pair<'_>, job: JobId, node: &str) -> u16 {
    let event = pair.wait_event(job, "its ports", SOON, |event| {
        event.node == node && event.message.as_deref().is_some_and(|text| text.starts_with("ports "))
    });
    let message = event.message.unwrap_or_default();
    let port = message.split_whitespace().find_map(|word| word.strip_prefix("8888:")?.parse().ok());
    port.unwrap_or_else(|| panic!("no port in {message:?}"))
}
