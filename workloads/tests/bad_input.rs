//! Wrong files: an error that names file, line and key, and never a panic.

mod common;

use common::PARSERS;
use proptest::prelude::*;
use stasis_workloads::TraceError;

fn error_of(parser: &str, text: &str) -> TraceError {
    let parser = PARSERS.iter().find(|candidate| candidate.name == parser).unwrap();
    match (parser.read)(text.as_bytes()) {
        Ok(count) => panic!("{}: {count} records were read from {text:?}", parser.name),
        Err(error) => error,
    }
}

/// Asserts the line, the key and a part of the reason.
#[track_caller]
fn refused(parser: &str, text: &str, line: u64, key: &str, reason: &str) {
    let error = error_of(parser, text);
    assert_eq!((error.line(), error.key()), (line, key), "{error}");
    assert!(error.to_string().contains(reason), "{error}");
    assert!(error.to_string().starts_with("in.put"), "{error}");
}

const HEAD: &str = "# stasis-sessions 1\nid,user,submit_s,end_s,cores_milli,gpus,memory_bytes,busy_s,memory_used_s_bytes,connected_s\n";

#[track_caller]
fn session_refused(rows: &str, line: u64, key: &str, reason: &str) {
    refused("sessions", &format!("{HEAD}{rows}"), line, key, reason);
}

#[test]
fn every_valid_file_is_read() {
    for parser in PARSERS {
        let count = (parser.read)(parser.valid).unwrap();
        assert!(count > 0, "{}", parser.name);
    }
}

#[test]
fn sessions_header() {
    refused("sessions", "", 0, "", "first line");
    refused("sessions", "# stasis-sessions 2\n", 1, "", "# stasis-sessions 1");
    let with = |from: &str, to: &str| HEAD.replace(from, to);
    refused("sessions", &with("busy_s", "busy"), 2, "busy", "the unit is missing: the column is `busy_s`");
    refused("sessions", &with("gpus", "fpgas"), 2, "fpgas", "unknown column");
    refused("sessions", &with("gpus", "user"), 2, "user", "twice");
    refused("sessions", &with(",connected_s", ""), 2, "connected_s", "lacks");
    refused("sessions", &with("gpus", "gpus,gpus"), 2, "gpus", "twice");
}

#[test]
fn sessions_rows() {
    session_refused("1,0,10,20,1000,0,5\n", 3, "", "7 fields where the header has 10");
    session_refused("x,0,10,20,1000,0,5,,,\n", 3, "id", "not a whole number");
    session_refused("1,0,-10,20,1000,0,5,,,\n", 3, "submit_s", "negative");
    session_refused("1,0,10,20m,1000,0,5,,,\n", 3, "end_s", "not a decimal");
    session_refused("1,0,10,10,1000,0,5,,,\n", 3, "end_s", "must end after it is submitted");
    session_refused("1,0,10,9,1000,0,5,,,\n", 3, "end_s", "must end after it is submitted");
    session_refused("1,0,10,20,0,0,5,,,\n", 3, "cores_milli", "some of a core");
    session_refused("1,0,10,20,1000,4294967296,5,,,\n", 3, "gpus", "too large");
    session_refused("1,0,10,20,1000,0,99999999999999999999,,,\n", 3, "memory_bytes", "too large");
    session_refused("1,0,99999999999,20,1000,0,5,,,\n", 3, "submit_s", "too large");
    session_refused("1,0,10.0000000001,20,1000,0,5,,,\n", 3, "submit_s", "more than nine decimals");
    session_refused("1,0,10,20,1000,0,5,3-1,,\n", 3, "busy_s", "`3-1` must end after it starts");
    session_refused("1,0,10,20,1000,0,5,1-3 2-4,,\n", 3, "busy_s", "interval 2 starts before");
    session_refused("1,0,10,20,1000,0,5,1-11,,\n", 3, "busy_s", "after the session");
    session_refused("1,0,10,20,1000,0,5,1,,\n", 3, "busy_s", "not `start-end`");
    session_refused("1,0,10,20,1000,0,5,1-2  3-4,,\n", 3, "busy_s", "not `start-end`");
    session_refused("1,0,10,20,1000,0,5,,1:5 1:6,\n", 3, "memory_used_s_bytes", "step 2");
    session_refused("1,0,10,20,1000,0,5,,1:-5,\n", 3, "memory_used_s_bytes", "negative");
    session_refused("1,0,10,20,1000,0,5,,,5-4\n", 3, "connected_s", "must end after");
    session_refused("1,0,10,20,1000,0,5,,,\n2,0,9.5,20,1000,0,5,,,\n", 4, "submit_s", "out of order");
    session_refused("1,0,10,20,1000,0,5,,,\n2,0,12,20,1000,0,5,,", 4, "", "cut off");
}

#[test]
fn swf() {
    let good = "1 0 0 10 2 -1 -1 2 20 -1 1 3 1 -1 1 -1 -1 -1\n";
    let with = |from: &str, to: &str| good.replacen(from, to, 1);
    refused("swf", "; Version: 2.2\n1 2 3\n", 2, "", "3 fields where the format has 18");
    refused("swf", &with("1 0 0 10", "1 -1 0 10"), 1, "submit time (s)", "unknown (-1)");
    refused("swf", &with("1 0 0 10", "1 0 0 -10"), 1, "run time (s)", "negative");
    refused("swf", &with("1 0 0 10", "1 0 0 ten"), 1, "run time (s)", "not a decimal");
    refused("swf", &with("10 2 -1 -1 2", "10 -1 -1 -1 -1"), 1, "allocated processors", "how many processors");
    refused("swf", &with("-1 1 3", "-1 9 3"), 1, "status", "`9` is not one of");
    refused("swf", &format!("{}{good}", with("1 0 0", "1 5 0")), 2, "submit time (s)", "out of order");
}

#[test]
fn sacct() {
    let head = "JobID|Submit|Elapsed|Timelimit|AllocCPUS|ReqMem|State\n";
    let row = "7|2025-02-03T00:00:00|00:01:00|01:00:00|4|4000M|COMPLETED\n";
    let with = |from: &str, to: &str| format!("{head}{}", row.replacen(from, to, 1));
    refused("sacct", "", 0, "", "empty");
    refused("sacct", "JobID|Submit|State\n", 1, "Elapsed", "lacks this column");
    refused("sacct", "JobID|JobID\n", 1, "JobID", "twice");
    refused("sacct", &with("00:01:00", "-00:01:00"), 2, "Elapsed", "negative");
    refused("sacct", &with("00:01:00", "soon"), 2, "Elapsed", "1-02:03:04");
    refused("sacct", &with("2025-02-03T", "yesterday "), 2, "Submit", "not a time");
    refused("sacct", &with("4000M", "4000X"), 2, "ReqMem", "not a size");
    refused("sacct", &with("COMPLETED", "DONE"), 2, "State", "not a state");
    refused("sacct", &with("|4|", "|four|"), 2, "AllocCPUS", "not a whole number");
    refused("sacct", &with("|4|", "|4|9|"), 2, "", "8 fields where the header has 7");
    refused("sacct", &with("7|", "seven|"), 2, "JobID", "not a whole number");
}

#[test]
fn jupyterhub() {
    let line = |stamp: &str, message: &str| format!("[I {stamp} JupyterHub base:1] {message}\n");
    let start = line("2025-02-03 00:00:05.000", "User a took 3.1 seconds to start");
    refused("jupyterhub", &line("2025-02-30 00:00:00.000", "x"), 1, "time", "no time");
    refused(
        "jupyterhub",
        &line("2025-02-03 00:00:00.000", "User a took -1 seconds to start"),
        1,
        "duration",
        "negative",
    );
    let earlier = line("2025-02-03 00:00:03.000", "User a server stopped, with exit code: 0");
    refused("jupyterhub", &format!("{start}{earlier}"), 2, "time", "out of order");
}

#[test]
fn notebookos() {
    let with = |from: &str, to: &str| common::NOTEBOOKOS.replacen(from, to, 1);
    refused("notebookos", &with("submit_time", "time"), 1, "submit_time", "lacks");
    refused("notebookos", &with("resnet101,5", "resnet101,-5"), 2, "duration", "negative");
    refused("notebookos", &with("resnet101,5", "resnet101,0"), 2, "duration", "longer than nothing");
    refused("notebookos", &with(",103,", ",soon,"), 3, "submit_time", "not a decimal");
    refused("notebookos", &with("1,1,103", "1,x,103"), 3, "num_gpu", "not a whole number");
}

#[test]
fn lifetimes() {
    refused("lifetimes", "lifetime\n5\n", 1, "lifetime", "the unit is missing");
    refused("lifetimes", "zone\n5\n", 1, "lifetime_s", "lacks");
    refused("lifetimes", "lifetime_s\n5\n-5\n", 3, "lifetime_s", "negative");
    refused("lifetimes", "lifetime_s\n0\n", 2, "lifetime_s", "longer than nothing");
    refused("lifetimes", "lifetime_s\nNaN\n", 2, "lifetime_s", "finite");
}

#[test]
fn spot() {
    refused("spot", "{\"metadata\": {\"gap_seconds\": 600},\n\"data\": [1, -1]}", 2, "data", "data[1]");
    refused(
        "spot",
        "{\"metadata\": {\"gap_seconds\": 0},\n\"data\": [1]}",
        1,
        "metadata.gap_seconds",
        "above 0",
    );
    refused(
        "spot",
        "{\"metadata\": {\"gap\": 600},\n\"data\": [1]}",
        1,
        "metadata.gap_seconds",
        "missing field",
    );
    refused("spot", "{\"metadata\": {\"gap_seconds\": 600}}", 1, "data", "missing field");
    refused("spot", "{\"metadata\": {\"gap_seconds\": 600}, \"data\": [1, 2", 1, "data", "EOF");
}

#[test]
fn generator() {
    let valid =
        std::str::from_utf8(PARSERS.iter().find(|parser| parser.name == "generator").unwrap().valid).unwrap();
    let line_of = |needle: &str| 1 + valid.lines().position(|line| line.contains(needle)).unwrap() as u64;
    let with = |from: &str, to: &str| valid.replacen(from, to, 1);
    let median = line_of("median_s = 60");
    let key = "sessions.think.log-normal.median_s";
    refused("generator", &with("median_s = 60", "median_s = -60"), median, key, "above 0");
    refused("generator", &with("median_s = 60", "median_s = \"1m\""), median, key, "string");
    refused(
        "generator",
        &with("median_s = 60", "median = 60"),
        median,
        "sessions.think.log-normal.median",
        "unexpected key",
    );
    refused(
        "generator",
        &with("sigma = 1.6", ""),
        median - 1,
        "sessions.think.log-normal",
        "missing field `sigma`",
    );
    let weights = with("hourly_weights = [1, ", "hourly_weights = [");
    refused(
        "generator",
        &weights,
        line_of("hourly_weights"),
        "sessions.arrivals.hourly_weights",
        "24 numbers",
    );
    let cores = with("weight = 6, cores_milli = 2000", "weight = 6, cores_milli = 0");
    refused("generator", &cores, line_of("requests = ["), "sessions.requests.cores_milli", "above 0");
    refused(
        "generator",
        &with("growth_chance = 0.3", "growth_chance = 3"),
        line_of("growth_chance"),
        "sessions.memory.growth_chance",
        "0 to 1",
    );
    refused("generator", &with("[jobs]", "[job]"), line_of("[jobs]"), "job", "unknown field");
}

/// What changes in a file: a byte, a piece cut out, a piece doubled, or one put elsewhere.
fn mutated(valid: &[u8], edits: &[(usize, usize, u8, u8)]) -> Vec<u8> {
    let mut bytes = valid.to_vec();
    for &(at, length, byte, kind) in edits {
        if bytes.is_empty() {
            break;
        }
        let at = at % bytes.len();
        let end = bytes.len().min(at + length);
        match kind {
            0 => bytes[at] = byte,
            1 => drop(bytes.drain(at..end)),
            2 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => bytes.insert(at, byte),
        }
    }
    bytes
}

/// A parser gives records or an error that names the file and has a reason; it never panics.
fn survives(parser: &common::Parser, bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Err(error) = (parser.read)(bytes) {
        prop_assert!(error.to_string().starts_with("in.put"), "{}: {error}", parser.name);
        prop_assert!(!error.reason().is_empty(), "{}: {error}", parser.name);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        for parser in PARSERS {
            survives(parser, &bytes)?;
        }
    }

    #[test]
    fn random_lines_after_a_valid_start_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), lines in 1..4_usize) {
        for parser in PARSERS {
            let start = parser.valid.split_inclusive(|&byte| byte == b'\n').take(lines);
            let mut file: Vec<u8> = start.flatten().copied().collect();
            file.extend_from_slice(&bytes);
            survives(parser, &file)?;
        }
    }

    #[test]
    fn mutated_files_never_panic(
        edits in prop::collection::vec((0..4000_usize, 1..50_usize, prop_oneof![any::<u8>(), b' '..b'~'], 0..4_u8), 1..6),
    ) {
        for parser in PARSERS {
            let head = &parser.valid[..parser.valid.len().min(4000)];
            survives(parser, &mutated(head, &edits))?;
        }
    }
}

#[cfg(feature = "parquet")]
mod parquet {
    use super::*;
    use stasis_workloads::{Session, open_sessions, write_sessions};

    fn count(bytes: &[u8]) -> Result<usize, TraceError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("in.parquet");
        std::fs::write(&file, bytes).unwrap();
        open_sessions(&file)?.try_fold(0, |count, session| session.map(|_| count + 1))
    }

    fn valid() -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t.parquet");
        let trace = open_sessions(&common::sample("sessions.csv")).unwrap();
        write_sessions(&file, trace.take(20)).unwrap();
        std::fs::read(&file).unwrap()
    }

    #[test]
    fn a_file_that_is_not_parquet_is_refused() {
        assert!(count(b"PAR1 and then nothing PAR1").is_err());
    }

    #[test]
    fn an_invalid_session_cannot_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut trace: Vec<Session> =
            open_sessions(&common::sample("sessions.csv")).unwrap().map(Result::unwrap).collect();
        trace.reverse();
        let error =
            write_sessions(&folder.path().join("t.parquet"), trace.into_iter().map(Ok::<_, TraceError>));
        assert_eq!(error.unwrap_err().key(), "submit_ns");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    /// The lowest bit of a number in the footer is its sign, and a negative size makes the decoder panic
    /// (found by fuzzing): that must become an error too.
    #[test]
    fn every_flipped_low_bit_of_the_footer_is_survived() {
        let valid = valid();
        let length = &valid[valid.len() - 8..valid.len() - 4];
        let footer = 8 + u32::from_le_bytes(length.try_into().unwrap()) as usize;
        let caught = (valid.len() - footer..valid.len()).filter(|&at| {
            let mut bytes = valid.clone();
            bytes[at] ^= 1;
            count(&bytes).is_err_and(|error| error.reason().contains("decoder failed"))
        });
        assert!(caught.count() > 0, "no panic was caught: is the guard still needed?");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn mutated_files_never_panic(
            edits in prop::collection::vec((0..40_000_usize, 1..50_usize, any::<u8>(), 0..4_u8), 1..6),
        ) {
            let _ = count(&mutated(&valid(), &edits));
        }
    }
}
