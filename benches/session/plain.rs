//! Plain CRIU, run by hand on the session that Stasis keeps: the same processes, memory, node and disk.
//!
//! Its dump goes to the node's disk and stays there. Nothing is compressed, authenticated, or brought to where
//! another node could find it.

use crate::jupyter::Server;
use crate::results::{Measure, Sample};
use anyhow::{Context, bail, ensure};
use stasis_contract::Manifest;
use stasis_testbed::Cluster;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdout};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DUMP: &str = include_str!("scripts/dump.sh");
const RESTORE: &str = include_str!("scripts/restore.sh");
/// On the node's disk.
const FOLDER: &str = "/var/lib/stasis/bench-plain";

/// A dump on a node. It is removed when this is dropped.
pub struct PlainDump<'a> {
    cluster: &'a Cluster,
    node: String,
    restore_args: Vec<String>,
}

/// A session that CRIU has brought back by hand; it ends when this is dropped.
pub struct Restored {
    child: Child,
    /// Where it answers.
    pub server: Server,
    /// When the making of its namespaces began.
    pub begun: SystemTime,
    /// When CRIU was done.
    pub finished: SystemTime,
}

/// Dumps the session on this node, which goes on. The manifest of an image of it says what it has.
pub fn dump<'a>(
    cluster: &'a Cluster,
    node: &str,
    manifest: &Manifest,
    sample: &mut Sample,
) -> anyhow::Result<PlainDump<'a>> {
    let state = &manifest.session;
    let trees: Vec<String> = state.trees.iter().map(|tree| tree.mount_point.display().to_string()).collect();
    let numbers = |numbers: &[u64]| numbers.iter().map(u64::to_string).collect::<Vec<_>>();
    let ids = numbers(&[state.root_pid as u64, manifest.origin.uid.into(), manifest.origin.gid.into()]);
    let pipes = numbers(&[state.stdout_pipe, state.stderr_pipe]);
    let here = vec![FOLDER.to_owned()];
    let argv = script(DUMP, [&here, &ids, &trees]);
    let words: Vec<&str> = argv.iter().map(String::as_str).collect();
    let dump =
        PlainDump { cluster, node: node.to_owned(), restore_args: script(RESTORE, [&here, &pipes, &trees]) };
    let output = cluster.exec(node, "root", &words)?.checked("dump a session with plain CRIU")?.stdout;
    let figures: Vec<f64> = output.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [begun, dumped, durable, bytes] = figures[..] else { bail!("the dump printed {output:?}") };
    let (dump_s, durable_s) = (dumped - begun, durable - begun);
    let measures = [(Measure::Frozen, dump_s), (Measure::Saved, dump_s), (Measure::Durable, durable_s)];
    sample.measures.extend(measures);
    sample.steps.extend([("dump", dump_s), ("sync", durable_s - dump_s)]);
    sample.image_bytes = bytes as u64;
    Ok(dump)
}

fn script(text: &str, args: [&Vec<String>; 3]) -> Vec<String> {
    let fixed = ["bash", "-euo", "pipefail", "-c", text, "plain"].map(str::to_owned);
    fixed.into_iter().chain(args.into_iter().flatten().cloned()).collect()
}

impl PlainDump<'_> {
    /// Brings the session back on the node of the dump.
    pub fn restore(&self, sample: &mut Sample) -> anyhow::Result<Restored> {
        let words: Vec<&str> = self.restore_args.iter().map(String::as_str).collect();
        let mut child = self.cluster.spawn(&self.node, "root", &words)?;
        let mut lines = BufReader::new(child.stdout.take().context("its output is a pipe")?);
        let begun = said(&mut child, &mut lines)?;
        let [pid, begun] = begun[..] else { bail!("the restore began with {begun:?}") };
        let root = format!("/proc/{}/root", self.cluster.node(&self.node)?.init()?);
        let server = Server::inside(PathBuf::from(format!("{root}/proc/{pid}/ns/net")));
        let finished = said(&mut child, &mut lines)?;
        let [finished] = finished[..] else { bail!("the restore ended with {finished:?}") };
        sample.steps.push(("namespaces and CRIU restore", finished - begun));
        Ok(Restored { child, server, begun: moment(begun), finished: moment(finished) })
    }
}

impl Drop for PlainDump<'_> {
    fn drop(&mut self) {
        // The cluster's disks go with it anyway; this is for the next run's sake.
        let _ = self.cluster.exec(&self.node, "root", &["rm", "-rf", FOLDER]);
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The numbers of the next line, or what the script said instead.
fn said(child: &mut Child, lines: &mut BufReader<ChildStdout>) -> anyhow::Result<Vec<f64>> {
    let mut line = String::new();
    lines.read_line(&mut line)?;
    if line.is_empty() {
        let mut errors = String::new();
        child.stderr.take().context("its errors are a pipe")?.read_to_string(&mut errors)?;
        let _ = child.wait();
        bail!("plain CRIU's restore failed: {}", errors.trim());
    }
    let numbers: Vec<f64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    ensure!(!numbers.is_empty(), "the restore printed {line:?}");
    Ok(numbers)
}

fn moment(unix_s: f64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs_f64(unix_s)
}
