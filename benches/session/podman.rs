//! podman's export and import of a checkpoint, which is how the paper moved sessions.
//!
//! podman and crun are Debian's, added to the node image in a cached folder, and run there in namespaces of their
//! own with the overlay driver on the disk itself. The container is the node image with the same server in it, as
//! root and on the host's network, which spares podman the work of making one.

use crate::jupyter::Server;
use crate::results::{Measure, Method, Sample};
use crate::rig::seconds;
use crate::stasis::{blank, check, rest};
use crate::workload::Workload;
use anyhow::{Context, bail, ensure};
use std::cell::RefCell;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::SystemTime;

const RECIPE: &str = include_str!("scripts/podman_image.sh");
const BOX: &str = include_str!("scripts/podman_box.sh");
/// The container.
const NAME: &str = "session";
/// The container's image.
const IMAGE: &str = "node";
/// The checkpoint's file.
const EXPORT: &str = "/box/export.tar.zst";

/// podman, in a box.
pub struct Podman {
    child: Child,
    input: RefCell<Option<ChildStdin>>,
    output: RefCell<BufReader<ChildStdout>>,
    server: Server,
    /// What runs in it.
    pub versions: Vec<String>,
}

impl Podman {
    /// Installs it if it is not there yet, which takes a minute, and starts it.
    pub fn start() -> anyhow::Result<Self> {
        let image = stasis_testbed::image::ensure()?;
        let peer = ensure_peer(&image)?;
        let mut command = namespaces(&["--net", "unshare", "--mount", "--pid", "--fork", "--kill-child"]);
        command.arg("bash").args(["-euo", "pipefail", "-c", BOX]).env("IMAGE", &image).env("PEER", &peer);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot run unshare")?;
        let input = RefCell::new(child.stdin.take());
        let output = RefCell::new(BufReader::new(child.stdout.take().context("its output is a pipe")?));
        let server = Server::inside(PathBuf::from(format!("/proc/{}/ns/net", child.id())));
        let mut podman = Self { child, input, output, server, versions: Vec::new() };
        podman.hear().context("podman's box did not open")?;
        podman.run(&format!("podman rm --all --force --time 0 >/dev/null; rm -f {EXPORT}"))?;
        podman.run(&format!(
            "podman image exists {IMAGE} || tar -C /node-image --create . | podman import - {IMAGE} 2>/dev/null"
        ))?;
        let versions = podman.run("podman --version; crun --version | head -n 1")?;
        podman.versions = versions.lines().map(|line| line.replace(" version", "")).collect();
        Ok(podman)
    }

    /// One run: a session in a container is exported, and imported.
    pub fn measure(&self, workload: &Workload) -> anyhow::Result<Sample> {
        let result = self.measure_container(workload);
        let removed = self.run(&format!("podman rm --force --ignore --time 0 {NAME}; rm -f {EXPORT}"));
        let sample = result?;
        removed?;
        Ok(sample)
    }

    fn measure_container(&self, workload: &Workload) -> anyhow::Result<Sample> {
        let server = Workload::server("/root");
        self.run(&format!(
            "podman run --detach --name {NAME} --network host --log-driver none --env UV_USE_IO_URING=0 \
             --env PATH=/opt/jupyter/bin:/usr/local/bin:/usr/bin:/bin {IMAGE} bash -c '{}' >/dev/null",
            server.trim()
        ))?;
        let kernel = self.server.start_kernel()?;
        let checksum = self.server.run(&kernel, &workload.fill())?;
        rest();
        let mut sample = blank(Method::Podman);
        let saved_s = self.export(&mut sample)?;
        rest();
        let begun = SystemTime::now();
        self.run(&format!("podman container restore --tcp-established --import {EXPORT} >/dev/null"))?;
        let imported = SystemTime::now();
        let answered = self.server.first_answer(&kernel, Workload::question(), &workload.answer())?;
        let restored_s = seconds(begun, answered.at);
        sample.measures.extend([(Measure::Restored, restored_s), (Measure::Moved, saved_s + restored_s)]);
        sample
            .steps
            .extend([("import", seconds(begun, imported)), ("answer", seconds(imported, answered.at))]);
        check(&self.server, &kernel, &checksum, &mut sample)?;
        Ok(sample)
    }

    /// Exports the container, which ends; the seconds until the file was there.
    fn export(&self, sample: &mut Sample) -> anyhow::Result<f64> {
        let begun = SystemTime::now();
        let checkpoint = "podman container checkpoint --tcp-established --print-stats";
        let stats = self.run(&format!("{checkpoint} --export {EXPORT} {NAME}"))?;
        let exported = SystemTime::now();
        let bytes = self.run(&format!("sync -f {EXPORT}; stat --format %s {EXPORT}"))?;
        let durable_s = seconds(begun, SystemTime::now());
        let saved_s = seconds(begun, exported);
        sample.image_bytes = bytes.trim().parse().unwrap_or(0);
        sample.measures.extend([(Measure::Saved, saved_s), (Measure::Durable, durable_s)]);
        // With --leave-running the session would go on once CRIU is done, before the tar is packed.
        let stats: serde_json::Value = serde_json::from_str(&stats).unwrap_or_default();
        let criu = &stats["container_statistics"][0]["criu_statistics"];
        let criu_s = |name: &str| criu[name].as_f64().map(|micros| micros / 1e6);
        if let (Some(freezing_s), Some(frozen_s)) = (criu_s("freezing_time"), criu_s("frozen_time")) {
            sample.measures.insert(Measure::Frozen, freezing_s + frozen_s);
        }
        sample.steps.extend([("export", saved_s), ("sync", durable_s - saved_s)]);
        self.run(&format!("podman rm {NAME} >/dev/null"))?;
        Ok(saved_s)
    }

    /// Has the box do a line of shell; what it printed.
    fn run(&self, line: &str) -> anyhow::Result<String> {
        let mut input = self.input.borrow_mut();
        writeln!(input.as_mut().context("podman's box is closed")?, "{line}")
            .context("podman's box is closed")?;
        self.hear().with_context(|| format!("`{line}` failed in podman's box"))
    }

    fn hear(&self) -> anyhow::Result<String> {
        let (mut said, mut line) = (String::new(), String::new());
        while self.output.borrow_mut().read_line(&mut line)? > 0 {
            match line.trim().strip_prefix("done ") {
                Some("0") => return Ok(said),
                Some(status) => bail!("status {status}: {said}"),
                None => said.push_str(&line),
            }
            line.clear();
        }
        bail!("it ended: {said}")
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // The end of its input is the end of the box.
        drop(self.input.take());
        let _ = self.child.wait();
        // Empty by now; CRIU makes some in hierarchies that the box does not see.
        let cgroups = [
            "/sys/fs/cgroup",
            "-depth",
            "-type",
            "d",
            "-path",
            "*/libpod_parent*",
            "-exec",
            "rmdir",
            "{}",
            "+",
        ];
        let _ = Command::new("find").args(cgroups).stderr(Stdio::null()).status();
    }
}

/// A command that unshares, and dies with this program.
fn namespaces(args: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "unshare"]).args(args);
    command
}

/// The folder with podman on top of the node image, made if need be.
fn ensure_peer(image: &Path) -> anyhow::Result<PathBuf> {
    let mut identity = blake3::Hasher::new();
    identity.update(RECIPE.as_bytes()).update(image.as_os_str().as_encoded_bytes());
    let peer = image.with_file_name(format!("podman-peer-{}", &identity.finalize().to_hex()[..16]));
    if peer.is_dir() {
        return Ok(peer);
    }
    eprintln!("installing podman into {}", peer.display());
    let partial = peer.with_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial).with_context(|| format!("cannot remove {}", partial.display()))?;
    }
    fs::create_dir_all(&partial).with_context(|| format!("cannot make {}", partial.display()))?;
    let mut command =
        namespaces(&["--mount", "--pid", "--fork", "--kill-child", "bash", "-euo", "pipefail", "-c"]);
    let output =
        command.arg(RECIPE).env("IMAGE", image).env("PEER", &partial).stdin(Stdio::null()).output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cannot install podman: {}", errors.trim());
    fs::rename(&partial, &peer).with_context(|| format!("cannot name {}", peer.display()))?;
    Ok(peer)
}
