//! Importers on the sample traces, on lines as the real programs write them, and, where they are at hand, on
//! public traces.

mod common;

use stasis_workloads::import::{jobs_as_sessions, jupyterhub, lifetimes, notebookos, sacct, spot_json, swf};
use stasis_workloads::{Interval, Job, JobStatus, NS_PER_S, Session, TraceError};
use std::path::Path;

fn all<T>(records: impl Iterator<Item = Result<T, TraceError>>) -> Vec<T> {
    records.collect::<Result<_, _>>().unwrap()
}

fn seconds(intervals: &[Interval]) -> Vec<(u64, u64)> {
    intervals.iter().map(|interval| (interval.start_ns / NS_PER_S, interval.end_ns / NS_PER_S)).collect()
}

#[test]
fn swf_and_sacct_agree_on_the_same_jobs() {
    let from_swf = all(swf::SwfReader::open(&common::sample("jobs.swf")).unwrap());
    let from_sacct = all(sacct::jobs(&common::sample("sacct.txt")).unwrap());
    assert_eq!(from_sacct.len(), 150);
    // The export starts at its first job, whose time is 0 there.
    let origin_ns = from_swf[0].submit_ns;
    for (a, b) in from_swf.iter().zip(&from_sacct) {
        assert_eq!(
            (a.id, a.submit_ns - origin_ns, a.run_ns, a.requested_ns, a.processors),
            (b.id, b.submit_ns, b.run_ns, b.requested_ns, b.processors)
        );
        assert_eq!(b.wait_ns, Some(60 * NS_PER_S));
        assert_eq!(b.memory_bytes, u64::from(b.processors) * (2000 << 20));
    }
    assert_eq!(from_sacct[10].status, JobStatus::TimedOut);
    let sessions = all(jobs_as_sessions("sacct.txt".as_ref(), from_sacct.into_iter().map(Ok)));
    assert!(sessions.iter().all(|session| session.busy_ns() == session.span_ns()));
}

#[test]
fn sacct_is_sorted_by_submission() {
    let text = "JobIDRaw|Submit|ElapsedRaw|State\n9|2025-02-03T00:00:10|5|COMPLETED\n10|2025-02-03T00:00:00|5|CANCELLED by 1000\n";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sacct.txt");
    std::fs::write(&file, text).unwrap();
    let jobs: Vec<(u64, u64)> =
        all(sacct::jobs(&file).unwrap()).iter().map(|job| (job.id, job.submit_ns / NS_PER_S)).collect();
    assert_eq!(jobs, [(10, 0), (9, 10)]);
}

#[test]
fn the_sample_hub_log_gives_valid_sessions_in_order() {
    let sessions =
        all(jupyterhub::sessions(&common::sample("jupyterhub.log"), jupyterhub::Options::default()).unwrap());
    let started =
        std::fs::read_to_string(common::sample("jupyterhub.log")).unwrap().matches("to start").count();
    assert_eq!(sessions.len(), started);
    assert!(sessions.is_sorted_by_key(|session| session.submit_ns));
    assert!(sessions.iter().all(|session| session.validate().is_ok()));
    // Only a session shorter than a report's interval leaves no trace of activity.
    let quiet = sessions.iter().filter(|session| session.busy.is_empty());
    assert!(quiet.clone().count() < 5 && quiet.clone().all(|session| session.span_ns() < 700 * NS_PER_S));
}

/// Lines as JupyterHub 1 to 5 write them, with the prefixes that journald and pods put ahead of them.
const HUB: &str = "\
[I 2025-02-12 10:00:00.000 JupyterHub app:3346] Running JupyterHub version 5.2.1
[I 2025-02-12 10:00:10.000 JupyterHub base:1088] User ann took 4.000 seconds to start
Feb 12 10:00:20 host python3[1142]: [I 2025-02-12 10:00:20.000 JupyterHub base:1088] User bob took 5.500 seconds to start
10:45:31.525 [ConfigProxy] info: 200 GET /api/routes
[I 2025-02-12T10:05:10.000 JupyterHub log:192] 200 POST /hub/api/users/ann/activity (ann@127.0.0.1) 32.17ms
[W 2025-02-12 10:05:11.000 JupyterHub log:192] 403 POST /hub/api/users/ann/activity (@127.0.0.1) 2.17ms
[I 2025-02-12 10:20:00.000 JupyterHub log:192] 200 POST /prefix/hub/api/users/ann/activity (ann@127.0.0.1) 32.17ms
[I 2025-02-12 10:21:00.000 JupyterHub log:192] 200 POST /hub/api/users/ann/activity (ann@127.0.0.1) 32.17ms
[I 2025-02-12 10:30:00.000 JupyterHub base:1088] User bob:gpu took 1.000 seconds to start
[I 2025-02-12 10:31:00.000 JupyterHub log:192] 202 DELETE /hub/api/users/bob/servers/gpu?now=1 (bob@127.0.0.1) 5.00ms
Traceback (most recent call last):
[I 2025-02-12 10:31:12.000 JupyterHub base:1236] User bob server took 12.000 seconds to stop
[W 2025-02-12 10:40:00.000 JupyterHub base:1164] User ann server stopped, with exit code: 1
[I 2025-02-12 10:50:00.000 JupyterHub app:1] still here
";

#[test]
fn hub_lines_as_they_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hub.log");
    std::fs::write(&file, HUB).unwrap();
    let sessions = all(jupyterhub::sessions(&file, jupyterhub::Options::default()).unwrap());
    let spans: Vec<(u32, u64, u64)> =
        sessions.iter().map(|s| (s.user, s.submit_ns / 1_000_000, s.end_ns / 1_000_000)).collect();
    // ann from 10:00:06 to 10:40; bob from 10:00:14.5 on; bob's gpu server, which was asked to stop though the
    // other has been idle for longer, from 10:29:59 to 10:31.
    assert_eq!(spans, [(1, 6_000, 2_400_000), (0, 14_500, 3_000_000), (0, 1_799_000, 1_860_000)]);
    assert_eq!(seconds(&sessions[0].busy), [(10, 310), (900, 1260)]);
    assert_eq!(sessions[0].busy, sessions[0].connected);
    assert!(sessions[1].busy.is_empty() && sessions[2].busy.is_empty());
}

#[test]
fn notebook_events_become_sessions() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.csv");
    std::fs::write(&file, common::NOTEBOOKOS).unwrap();
    let sessions = all(notebookos::sessions(&file, notebookos::Options::default()).unwrap());
    let gpus: Vec<(u64, u32)> = sessions.iter().map(|session| (session.id, session.request.gpus)).collect();
    assert_eq!(gpus, [(1, 4), (0, 1)]);
    // The cell submitted at minute 103 waits for the one that runs until 105.
    assert_eq!(seconds(&sessions[1].busy), [(6000, 6300), (6300, 6540), (9600, 9660)]);
}

#[test]
fn spot_traces_are_steps() {
    let trace = spot_json::parse(
        Path::new("x"),
        "{\"metadata\": {\"gap_seconds\": 600, \"zone\": \"z\"}, \"data\": [1, 1, 0, 2]}".as_bytes(),
    )
    .unwrap();
    let minutes: Vec<(u64, u32)> =
        trace.steps().iter().map(|step| (step.at_ns / NS_PER_S / 60, step.instances)).collect();
    assert_eq!(minutes, [(0, 1), (20, 0), (30, 2)]);
    assert_eq!((trace.at(0), trace.at(trace.length_ns() - 1), trace.at(trace.length_ns())), (1, 2, 0));
    assert_eq!(trace.next_change_ns(0), Some(1200 * NS_PER_S));
    assert_eq!(trace.iter_ticks().collect::<Vec<_>>(), [1, 1, 0, 2]);
}

#[test]
fn public_swf() {
    let Some(path) = common::public("hpc2n-excerpt.swf") else { return };
    let reader = swf::SwfReader::open(&path).unwrap();
    assert_eq!(
        (reader.header().max_procs, reader.header().unix_start_time_s),
        (Some(240), Some(1_027_839_845))
    );
    let jobs: Vec<Job> = all(reader);
    assert_eq!(jobs.len(), 3170);
    assert!(jobs.iter().all(|job| job.processors <= 240));
}

#[test]
fn public_notebook_events_are_idle_as_published() {
    let Some(path) = common::public("notebookos-tiresias.csv") else { return };
    let (mut sessions, mut span_ns, mut busy_ns) = (0, 0, 0);
    for session in notebookos::sessions(&path, notebookos::Options::default()).unwrap() {
        let session: Session = session.unwrap();
        session.validate().unwrap();
        sessions += 1;
        span_ns += u128::from(session.span_ns());
        busy_ns += u128::from(session.busy_ns());
    }
    let factor = span_ns as f64 / busy_ns as f64;
    println!("{sessions} sessions, always-on over busy {factor:.2}");
    assert!((3.0..5.0).contains(&factor), "{factor}");
}

#[test]
fn public_spot_traces() {
    let Some(folder) = common::public("spot-2022") else { return };
    for entry in std::fs::read_dir(folder).unwrap() {
        let trace = spot_json::read(&entry.unwrap().path()).unwrap();
        assert_eq!(trace.gap_ns(), 600 * NS_PER_S);
        assert!(trace.ticks() >= 1872);
    }
}

#[test]
fn public_lifetimes() {
    let Some(path) = common::public("gcp-lifetimes.csv") else { return };
    assert_eq!(all(lifetimes::LifetimeReader::open(&path).unwrap()).len(), 1442);
}
