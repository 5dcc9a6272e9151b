//! What is written is read back the same, and a file appears whole or not at all.

mod common;

use common::{any_session, any_trace};
use proptest::prelude::*;
use stasis_workloads::format::session_csv::{SessionReader, SessionWriter};
use stasis_workloads::import::{lifetimes, spot_json, swf};
use stasis_workloads::{Job, JobStatus, Session, SpotTrace, TraceError, open_sessions, write_sessions};
use std::path::Path;

fn back_and_forth(file: &Path, trace: &[Session]) -> Vec<Session> {
    write_sessions(file, trace.iter().cloned().map(Ok::<_, TraceError>)).unwrap();
    open_sessions(file).unwrap().map(Result::unwrap).collect()
}

fn any_job() -> impl Strategy<Value = Job> {
    let status =
        prop_oneof![Just(JobStatus::Completed), Just(JobStatus::Cancelled), Just(JobStatus::Unknown)];
    let times = (0..u64::MAX / 2, 0..u64::MAX / 2, 0..u64::MAX / 2, prop::option::of(0..u64::MAX / 2));
    let sizes = (1..100_000_u32, 0..1_000_000_u64, any::<u32>(), any::<u32>());
    (any::<u64>(), times, sizes, status).prop_map(
        |(id, times, (processors, kilobytes, user, partition), status)| {
            let (submit_ns, run_ns, requested_ns, wait_ns) = times;
            let memory_bytes = kilobytes * 1024 * u64::from(processors);
            Job {
                id,
                submit_ns,
                run_ns,
                requested_ns,
                wait_ns,
                processors,
                memory_bytes,
                user,
                partition,
                status,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn sessions_survive_csv(trace in any_trace()) {
        let folder = tempfile::tempdir().unwrap();
        prop_assert_eq!(back_and_forth(&folder.path().join("t.csv"), &trace), trace);
    }

    #[cfg(feature = "parquet")]
    #[test]
    fn sessions_survive_parquet(trace in any_trace()) {
        let folder = tempfile::tempdir().unwrap();
        prop_assert_eq!(back_and_forth(&folder.path().join("t.parquet"), &trace), trace);
    }

    #[test]
    fn jobs_survive_swf(mut jobs in prop::collection::vec(any_job(), 0..20)) {
        jobs.sort_by_key(|job| job.submit_ns);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t.swf");
        let header = swf::SwfHeader { max_procs: Some(7), max_nodes: None, unix_start_time_s: Some(3) };
        swf::write_swf(&file, header, jobs.iter().copied().map(Ok)).unwrap();
        let reader = swf::SwfReader::open(&file).unwrap();
        prop_assert_eq!(reader.header(), header);
        prop_assert_eq!(reader.map(Result::unwrap).collect::<Vec<_>>(), jobs);
    }

    #[test]
    fn spot_survives_json(runs in prop::collection::vec((0..4_u32, 1..50_u64), 0..20)) {
        let mut trace = SpotTrace::new(600_000_000_000).unwrap();
        for (instances, count) in runs {
            trace.push_many(instances, count).unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t.json");
        spot_json::write(&file, &trace).unwrap();
        prop_assert_eq!(spot_json::read(&file).unwrap(), trace);
    }

    #[test]
    fn lifetimes_survive_csv(lives in prop::collection::vec(1..1_000_000_000_000_000_u64, 0..50)) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t.csv");
        lifetimes::write_lifetimes(&file, lives.iter().copied()).unwrap();
        let read: Vec<u64> = lifetimes::LifetimeReader::open(&file).unwrap().map(Result::unwrap).collect();
        prop_assert_eq!(read, lives);
    }

    #[test]
    fn a_trace_that_is_not_finished_leaves_nothing(session in any_session()) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t.csv");
        let mut writer = SessionWriter::create(&file).unwrap();
        writer.write(&session).unwrap();
        let broken = Session { end_ns: session.submit_ns, ..session };
        let error = writer.write(&broken).unwrap_err();
        prop_assert_eq!(error.key(), "end_s");
        drop(writer);
        prop_assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_failing_source_leaves_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.csv");
    std::fs::write(&file, "old").unwrap();
    let failing = [Err(TraceError::bad(Path::new("source"), 9, "key", "broken"))];
    assert_eq!(write_sessions(&file, failing.into_iter()).unwrap_err().line(), 9);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "old");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn the_sample_trace_is_written_back_byte_by_byte() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.csv");
    write_sessions(&file, SessionReader::open(&common::sample("sessions.csv")).unwrap()).unwrap();
    assert!(std::fs::read(&file).unwrap() == std::fs::read(common::sample("sessions.csv")).unwrap());
}

#[cfg(feature = "parquet")]
#[test]
fn a_trace_of_many_batches_survives_parquet() {
    use stasis_workloads::generate;
    let mut spec =
        generate::GeneratorSpec::read(&common::sample("generator.toml")).unwrap().sessions.unwrap();
    spec.arrivals.per_day = 1500.0;
    let trace: Vec<Session> = generate::sessions(&spec, 3, 0).unwrap().collect();
    assert!(trace.len() > 9000, "{} sessions fill no third batch", trace.len());
    let folder = tempfile::tempdir().unwrap();
    assert!(back_and_forth(&folder.path().join("t.parquet"), &trace) == trace);
}
