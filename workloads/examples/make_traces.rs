//! Writes the small traces of `workloads/traces/` anew from its `generator.toml`, so that anyone can see
//! where they come from. Those that stand for other programs' logs (sacct, JupyterHub) are written here,
//! because the library only ever reads them.

use stasis_workloads::generate::{self, GeneratorSpec};
use stasis_workloads::import::{lifetimes, spot_json, swf};
use stasis_workloads::{Job, JobStatus, NS_PER_S, Session, TraceError, write_sessions};
use std::fmt::Write as _;
use std::path::Path;

/// The traces are replication 0 under this seed.
const SEED: u64 = 1;

/// A Monday; the logs that carry dates begin on it.
const FIRST_DAY: u64 = 3;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("traces");
    let spec = GeneratorSpec::read(&folder.join("generator.toml"))?;
    let (Some(sessions), Some(jobs), Some(lives), Some(spot)) =
        (&spec.sessions, &spec.jobs, &spec.lifetimes, &spec.spot)
    else {
        return Err("generator.toml must have all four parts".into());
    };
    let all = generate::sessions(sessions, SEED, 0)?;
    write_sessions(&folder.join("sessions.csv"), all.clone().map(Ok::<Session, TraceError>))?;
    let header = swf::SwfHeader { max_procs: Some(128), max_nodes: Some(16), unix_start_time_s: None };
    let jobs = generate::jobs(jobs, SEED, 0)?;
    let jobs: Vec<Job> = jobs.collect();
    swf::write_swf(&folder.join("jobs.swf"), header, jobs.iter().copied().map(Ok))?;
    std::fs::write(folder.join("sacct.txt"), sacct(&jobs[..150]))?;
    std::fs::write(folder.join("jupyterhub.log"), jupyterhub(all.take(40)))?;
    lifetimes::write_lifetimes(&folder.join("lifetimes.csv"), generate::lifetimes_ns(lives, SEED, 0)?)?;
    spot_json::write(&folder.join("spot.json"), &generate::spot(spot, SEED, 0)?)?;
    Ok(())
}

/// Days, hours, minutes, seconds and milliseconds of a time in the trace.
fn clock(ns: u64) -> (u64, u64, u64, u64, u64) {
    let s = ns / NS_PER_S;
    (s / 86_400, s / 3600 % 24, s / 60 % 60, s % 60, ns / 1_000_000 % 1000)
}

fn stamp(ns: u64) -> String {
    let (day, h, m, s, _) = clock(ns);
    format!("2025-02-{:02}T{h:02}:{m:02}:{s:02}", FIRST_DAY + day)
}

fn duration(ns: u64) -> String {
    let (day, h, m, s, _) = clock(ns);
    if day > 0 { format!("{day}-{h:02}:{m:02}:{s:02}") } else { format!("{h:02}:{m:02}:{s:02}") }
}

fn sacct(jobs: &[Job]) -> String {
    let mut text =
        "JobID|JobName|User|Partition|Submit|Start|End|Elapsed|Timelimit|AllocCPUS|NNodes|ReqMem|State\n"
            .to_string();
    for job in jobs {
        let start_ns = job.submit_ns + 60 * NS_PER_S;
        let status = if job.id % 11 == 0 { JobStatus::TimedOut } else { job.status };
        let state = if status == JobStatus::TimedOut { "TIMEOUT" } else { "COMPLETED" };
        let (start, end) = (stamp(start_ns), stamp(start_ns + job.run_ns));
        let times = format!("{}|{start}|{end}|{}", stamp(job.submit_ns), duration(job.run_ns));
        let size = format!("{}|1|{}M", job.processors, 2000 * job.processors);
        let limit = duration(job.requested_ns);
        let _ = writeln!(text, "{}|run|user{}|batch|{times}|{limit}|{size}|{state}", job.id, job.user);
        let _ = writeln!(text, "{}.batch|batch|||{times}||{size}|{state}", job.id);
    }
    text
}

fn jupyterhub(sessions: impl Iterator<Item = Session>) -> String {
    let mut lines: Vec<(u64, String)> = Vec::new();
    let mut free_ns = vec![0; 64];
    for session in sessions {
        let user = session.user as usize;
        // The hub gives a user one server at a time.
        if session.submit_ns < free_ns[user] {
            continue;
        }
        free_ns[user] = session.end_ns + 10 * NS_PER_S;
        let mut say = |ns, line: String| lines.push((ns, line));
        say(
            session.submit_ns + 3_100_000_000,
            format!("base:1088] User user{user} took 3.100 seconds to start"),
        );
        let mut report_ns = session.submit_ns + 300 * NS_PER_S;
        while report_ns < session.end_ns {
            let since_ns = report_ns - 300 * NS_PER_S;
            let active = session.busy.iter().any(|cell| cell.start_ns < report_ns && cell.end_ns > since_ns);
            if active {
                let path = format!("/hub/api/users/user{user}/activity (user{user}@10.0.0.{user})");
                say(report_ns, format!("log:192] 200 POST {path} 12.50ms"));
            }
            report_ns += 300 * NS_PER_S;
        }
        let path = format!("/hub/api/users/user{user}/server (user{user}@10.0.0.{user})");
        say(session.end_ns, format!("log:192] 204 DELETE {path} 20.10ms"));
        let stopped_ns = session.end_ns + 1_200_000_000;
        say(stopped_ns, format!("base:1236] User user{user} server took 1.200 seconds to stop"));
    }
    lines.sort_by_key(|(ns, _)| *ns);
    let mut text =
        "[I 2025-02-03 00:00:00.000 JupyterHub app:3346] Running JupyterHub version 5.2.1\n".to_string();
    for (ns, line) in lines {
        let (day, h, m, s, ms) = clock(ns);
        let _ = writeln!(
            text,
            "[I 2025-02-{:02} {h:02}:{m:02}:{s:02}.{ms:03} JupyterHub {line}",
            FIRST_DAY + day
        );
    }
    text
}
