//! JupyterHub's log (versions 1 to 5). It says when servers started and stopped and when a server last
//! reported activity, and nothing about single cells, cores or memory, so this import rests on the
//! assumptions in [`Options`]. The lines that are understood, wherever a prefix of journald or Kubernetes
//! puts them:
//!
//! ```text
//! [I 2025-02-12 10:43:27.373 JupyterHub base:1088] User alice took 3.104 seconds to start
//! [I 2025-02-12 10:48:02.526 JupyterHub log:192] 200 POST /hub/api/users/alice/activity (alice@10.0.0.7) 46.46ms
//! [I 2025-02-12 11:02:08.001 JupyterHub log:192] 204 DELETE /hub/api/users/alice/servers/gpu (alice@10.0.0.7) 5.10ms
//! [I 2025-02-12 11:02:10.927 JupyterHub base:1236] User alice server took 2.100 seconds to stop
//! [W 2025-02-12 12:00:00.000 JupyterHub base:1164] User alice server stopped, with exit code: 1
//! ```
//!
//! A single-user server reports every 300 s, and only if something happened since its last report: a report
//! therefore means that somewhere in the interval before it there was activity. All other lines are passed
//! over; a line whose stamp is in the right place but wrong is an error.

use super::USUAL_REQUEST;
use crate::error::TraceError;
use crate::format::calendar::stamp_ns;
use crate::format::decimal::seconds;
use crate::format::lines::{Lines, quoted};
use crate::format::names::Names;
use crate::format::open;
use crate::format::sort::{Sorted, by_submission};
use crate::format::until_error::until_error;
use crate::session::{Interval, NS_PER_S, Request, Session};
use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::Path;

/// What the log does not say and an importer must assume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How often a server reports, in nanoseconds: 300 s unless `JUPYTERHUB_ACTIVITY_INTERVAL` was set.
    pub report_every_ns: u64,
    /// How much of the interval before a report counts as computing, in nanoseconds: all of it, so that
    /// nothing is taken for idle that may have been busy.
    pub busy_before_report_ns: u64,
    /// What each server asked for.
    pub request: Request,
}

impl Default for Options {
    fn default() -> Self {
        let report_every_ns = 300 * NS_PER_S;
        Self { report_every_ns, busy_before_report_ns: report_every_ns, request: USUAL_REQUEST }
    }
}

/// The sessions of a log in order of submission; time 0 is the log's first stamp. Servers that still ran at
/// the end of the log end there.
///
/// # Errors
/// The file cannot be read, or a line is wrong.
pub fn sessions(path: &Path, options: Options) -> Result<Sorted<Session>, TraceError> {
    by_submission(path, HubReader::new(path, open(path)?, options))
}

/// Reads sessions one at a time, in order of their end. After an error it is at its end.
pub struct HubReader<R> {
    lines: Lines<R>,
    options: Options,
    /// Servers that run, by user and server name: in order, so that the end of the log is too.
    live: BTreeMap<(Vec<u8>, Vec<u8>), Server>,
    users: Names,
    origin_ns: Option<u64>,
    now_ns: u64,
    next_id: u64,
    done: bool,
}

struct Server {
    id: u64,
    submit_ns: u64,
    ready_ns: u64,
    reports: Vec<u64>,
    asked_to_stop: bool,
}

/// What one line says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Event {
    /// A server of `user` came up after so many nanoseconds.
    Started { user: Vec<u8>, server: Vec<u8>, took_ns: u64 },
    /// A server of `user` reported activity.
    Active { user: Vec<u8> },
    /// Somebody asked for this server of `user` to stop.
    AskedToStop { user: Vec<u8>, server: Vec<u8> },
    /// Some server of `user` is gone since so many nanoseconds.
    Stopped { user: Vec<u8>, took_ns: u64 },
}

/// Lines of several processes are not written quite in the order of their stamps.
const JITTER_NS: u64 = NS_PER_S;

impl<R: BufRead> HubReader<R> {
    /// Reads a log from `input`; `file` is for messages only.
    pub fn new(file: &Path, input: R, options: Options) -> Self {
        Self {
            lines: Lines::new(file, input),
            options,
            live: BTreeMap::new(),
            users: Names::default(),
            origin_ns: None,
            now_ns: 0,
            next_id: 0,
            done: false,
        }
    }

    fn read(&mut self) -> Result<Option<Session>, TraceError> {
        while let Some(line) = self.lines.next_line()? {
            let Some((stamp, message)) = split_stamp(line.bytes) else { continue };
            let stamp = stamp_ns(stamp).ok_or_else(|| format!("{} is no time", quoted(stamp)));
            let event = event(message);
            let stamp_ns = stamp.map_err(|reason| self.lines.bad("time", reason))?;
            self.advance_to(stamp_ns)?;
            let Some(event) = event.map_err(|reason| self.lines.bad("duration", reason))? else { continue };
            if let Some(session) = self.apply(event) {
                return Ok(Some(session));
            }
        }
        let left = self.live.pop_first();
        Ok(left.and_then(|((user, _), server)| self.end(&user, server, self.now_ns)))
    }

    fn advance_to(&mut self, stamp_ns: u64) -> Result<(), TraceError> {
        let origin_ns = *self.origin_ns.get_or_insert(stamp_ns);
        let at_ns = stamp_ns.saturating_sub(origin_ns);
        if at_ns + JITTER_NS < self.now_ns || stamp_ns + JITTER_NS < origin_ns {
            return Err(self.lines.bad("time", "out of order: earlier than the line above"));
        }
        self.now_ns = self.now_ns.max(at_ns);
        Ok(())
    }

    fn apply(&mut self, event: Event) -> Option<Session> {
        match event {
            Event::Started { user, server, took_ns } => {
                let started = Server {
                    id: self.next_id,
                    submit_ns: self.now_ns.saturating_sub(took_ns),
                    ready_ns: self.now_ns,
                    reports: Vec::new(),
                    asked_to_stop: false,
                };
                self.next_id += 1;
                let forgotten = self.live.insert((user.clone(), server), started);
                // The log missed the end of the one before: it had ended by now.
                forgotten.and_then(|server| self.end(&user, server, self.now_ns.saturating_sub(took_ns)))
            }
            Event::Active { user } => {
                let now_ns = self.now_ns;
                self.of_user(&user).for_each(|(_, server)| server.reports.push(now_ns));
                None
            }
            Event::AskedToStop { user, server } => {
                if let Some(server) = self.live.get_mut(&(user, server)) {
                    server.asked_to_stop = true;
                }
                None
            }
            Event::Stopped { user, took_ns } => {
                // The line does not name the server: it is the one that was asked to, else the idlest.
                let idlest = |server: &Server| server.reports.last().copied().unwrap_or(server.ready_ns);
                let (key, _) = self.of_user(&user).min_by_key(|(_, s)| (!s.asked_to_stop, idlest(s)))?;
                let key = key.clone();
                let server = self.live.remove(&key)?;
                self.end(&user, server, self.now_ns.saturating_sub(took_ns))
            }
        }
    }

    fn of_user<'a>(
        &'a mut self,
        user: &'a [u8],
    ) -> impl Iterator<Item = (&'a (Vec<u8>, Vec<u8>), &'a mut Server)> {
        let from = (user.to_vec(), Vec::new());
        self.live.range_mut(from..).take_while(move |((name, _), _)| name == user)
    }

    /// The session of a server that is gone; none if it was gone before it was there.
    fn end(&mut self, user: &[u8], server: Server, end_ns: u64) -> Option<Session> {
        let Server { id, submit_ns, ready_ns, reports, .. } = server;
        let before_reports = |length_ns| windows(&reports, length_ns, ready_ns, end_ns);
        let session = Session {
            id,
            user: self.users.number(user),
            submit_ns,
            end_ns,
            request: self.options.request,
            busy: before_reports(self.options.busy_before_report_ns),
            memory: Box::default(),
            connected: before_reports(self.options.report_every_ns),
        };
        session.validate().is_ok().then_some(session)
    }
}

impl<R: BufRead> Iterator for HubReader<R> {
    type Item = Result<Session, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        until_error(self, |reader| &mut reader.done, Self::read)
    }
}

/// The last `length_ns` before each report, joined where they meet, within `[from_ns, to_ns)`.
fn windows(reports: &[u64], length_ns: u64, from_ns: u64, to_ns: u64) -> Box<[Interval]> {
    let mut joined: Vec<Interval> = Vec::new();
    for &report_ns in reports {
        let start_ns = report_ns.saturating_sub(length_ns).max(from_ns);
        let end_ns = report_ns.min(to_ns);
        match joined.last_mut() {
            Some(last) if start_ns <= last.end_ns => last.end_ns = last.end_ns.max(end_ns),
            _ if start_ns < end_ns => joined.push(Interval { start_ns, end_ns }),
            _ => {}
        }
    }
    joined.into()
}

/// `...[I 2025-02-12 10:43:27.373 JupyterHub log:192] message` as stamp and message.
fn split_stamp(line: &[u8]) -> Option<(&[u8], &[u8])> {
    const MARK: &[u8] = b" JupyterHub ";
    let mark = line.windows(MARK.len()).position(|window| window == MARK)?;
    let open = line[..mark].iter().rposition(|&byte| byte == b'[')?;
    let [_level, b' ', stamp @ ..] = &line[open + 1..mark] else { return None };
    let rest = &line[mark + MARK.len()..];
    let close = rest.windows(2).position(|window| window == b"] ")?;
    Some((stamp, rest[close + 2..].trim_ascii()))
}

fn event(message: &[u8]) -> Result<Option<Event>, String> {
    let words: Vec<&[u8]> = message.split(|&byte| byte == b' ').collect();
    match words[..] {
        [b"User", who, b"took", took, b"seconds", b"to", b"start"] => {
            let colon = who.iter().position(|&byte| byte == b':').unwrap_or(who.len());
            let server = who.get(colon + 1..).unwrap_or_default().to_vec();
            Ok(Some(Event::Started { user: who[..colon].to_vec(), server, took_ns: seconds(took)? }))
        }
        [b"User", user, b"server", b"took", took, b"seconds", b"to", b"stop"] => {
            Ok(Some(Event::Stopped { user: user.to_vec(), took_ns: seconds(took)? }))
        }
        [b"User", user, b"server", b"stopped,", ..] => {
            Ok(Some(Event::Stopped { user: user.to_vec(), took_ns: 0 }))
        }
        [b"200", b"POST", path, ..] => Ok(path_under_users(path).and_then(|(user, rest)| match rest {
            b"activity" => Some(Event::Active { user: user.to_vec() }),
            _ => None,
        })),
        [b"202" | b"204", b"DELETE", path, ..] => Ok(path_under_users(path).and_then(|(user, rest)| {
            let server = if rest == b"server" { b"" } else { rest.strip_prefix(b"servers/")? };
            Some(Event::AskedToStop { user: user.to_vec(), server: server.to_vec() })
        })),
        _ => Ok(None),
    }
}

/// `.../api/users/USER/REST` as user and rest.
fn path_under_users(path: &[u8]) -> Option<(&[u8], &[u8])> {
    const UNDER: &[u8] = b"/api/users/";
    let at = path.windows(UNDER.len()).position(|window| window == UNDER)?;
    let tail = path[at + UNDER.len()..].split(|&byte| byte == b'?').next()?;
    let slash = tail.iter().position(|&byte| byte == b'/')?;
    Some((&tail[..slash], &tail[slash + 1..]))
}
