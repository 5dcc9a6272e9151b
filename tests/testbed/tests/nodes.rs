//! What suites rely on in a running cluster: commands, files, preemption, power and network.

use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use stasis_testbed::{Cluster, ClusterSpec, Error, STORE, wait_until};

mod common;
use common::{SOON, can_run, name, wait_output};

const SLURMD_PORT: u16 = 6818;

#[test]
fn commands_run_as_on_a_login() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::up(ClusterSpec::named(name("exec"))).unwrap();
    let output =
        cluster.exec("n1", "alice", &["bash", "-c", "id -un; pwd; hostname; echo $HOME; exit 7"]).unwrap();
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(output.stdout, "alice\n/home/alice\nn1\n/home/alice\n");
    let output = cluster.node("n2").unwrap().exec_with("bob", &["tr", "a-z", "A-Z"], b"through").unwrap();
    assert_eq!(output.stdout, "THROUGH");
    for tool in ["criu", "pasta", "jupyter", "sbatch"] {
        assert!(cluster.exec("n1", "bob", &["which", tool]).unwrap().success(), "{tool}");
    }
    assert!(cluster.exec("n1", "root", &["unshare", "--pid", "--net", "--fork", "true"]).unwrap().success());

    // Both nodes have the same store, each has its own disk.
    let file = format!("{STORE}/x");
    assert!(cluster.exec("n1", "alice", &["touch", &file]).unwrap().success());
    assert!(cluster.exec("n2", "bob", &["test", "-e", &file]).unwrap().success());
    assert!(cluster.host_dir_shared().join("stasis/x").exists());
    cluster.node("n1").unwrap().write_file(Path::new("/etc/mine"), 0o600, b"1").unwrap();
    assert!(cluster.node("n2").unwrap().read_file(Path::new("/etc/mine")).is_err());

    assert!(matches!(cluster.exec("n9", "root", &["true"]), Err(Error::NoNode { .. })));
}

#[test]
fn files_are_installed_before_the_boot_and_replaced_after_it() {
    if !can_run() {
        return;
    }
    let host = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(host.path(), "one").unwrap();
    let path = Path::new("/opt/stasis/probe");
    let file = format!("{}:{}:0755", host.path().display(), path.display()).parse().unwrap();
    let spec = ClusterSpec { install: vec![file], ..ClusterSpec::named(name("install")) };
    let cluster = Cluster::up(spec).unwrap();
    let (n1, n2) = (cluster.node("n1").unwrap(), cluster.node("n2").unwrap());
    assert_eq!(n1.read_file(path).unwrap(), "one");
    assert!(cluster.exec("n1", "alice", &["test", "-x", "/opt/stasis/probe"]).unwrap().success());

    n2.kill().unwrap();
    std::fs::write(host.path(), "two").unwrap();
    cluster.install(&cluster.spec().install[0]).unwrap();
    assert_eq!(n1.read_file(path).unwrap(), "two");
    n2.start().unwrap();
    assert_eq!(n2.read_file(path).unwrap(), "two");
    // What a node changes itself outlives its power, and a restart does not install the old file again.
    n2.write_file(path, 0o644, b"own").unwrap();
    n2.kill().unwrap();
    n2.start().unwrap();
    assert_eq!(n2.read_file(path).unwrap(), "own");
}

#[test]
fn a_job_in_high_preempts_one_in_low_which_is_told_and_requeued() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::up(ClusterSpec { nodes: 1, ..ClusterSpec::named(name("preempt")) }).unwrap();
    let script = "#!/bin/bash\ntrap 'echo told; exit 0' USR1\necho began ${SLURM_RESTART_COUNT:-0}\n\
                  for i in $(seq 1000); do sleep 0.1; done\n";
    let args = ["--signal=B:USR1@30", "--requeue", "--open-mode=append", "--exclusive", "--mem=100"];
    let low = cluster.sbatch("alice", &args, script).unwrap();
    wait_output(&cluster, low, "began 0");

    let high_args = ["--partition=high", "--exclusive", "--mem=100"];
    let high = cluster.sbatch("bob", &high_args, "#!/bin/bash\necho high").unwrap();
    wait_output(&cluster, low, "told");
    cluster.wait_job_state(high, "COMPLETED", SOON).unwrap();

    // The requeued job waits two minutes unless its owner asks for now.
    cluster.wait_job_state(low, "PENDING", SOON).unwrap();
    cluster.start_now("alice", low).unwrap();
    wait_output(&cluster, low, "began 1");
    assert_eq!(cluster.job(low).unwrap().restarts(), 1);
    cluster.cancel(low).unwrap();
}

#[test]
fn without_the_user_signal_the_grace_passes_in_silence() {
    if !can_run() {
        return;
    }
    let spec = ClusterSpec {
        nodes: 1,
        send_user_signal: false,
        grace_time_s: 1,
        ..ClusterSpec::named(name("silent"))
    };
    let cluster = Cluster::up(spec).unwrap();
    let script = "#!/bin/bash\ntrap 'echo told' USR1\ntrap 'echo ended; exit 0' TERM\necho began\n\
                  for i in $(seq 1000); do sleep 0.1; done\n";
    let args = ["--signal=B:USR1@30", "--requeue", "--open-mode=append", "--exclusive", "--mem=100"];
    let low = cluster.sbatch("alice", &args, script).unwrap();
    wait_output(&cluster, low, "began");
    cluster.sbatch("bob", &["--partition=high", "--exclusive", "--mem=100"], "#!/bin/bash\ntrue").unwrap();
    wait_output(&cluster, low, "ended");
    assert!(!cluster.job_output(low).unwrap().contains("told"));
}

#[test]
fn a_job_may_not_use_more_memory_than_it_asked_for() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::up(ClusterSpec { nodes: 1, ..ClusterSpec::named(name("memory")) }).unwrap();
    let script = "#!/bin/bash\ngrep -E 'memory|^0:' /proc/self/cgroup\npython3 -c 'b = bytearray(300 << 20)'\necho rc $?\n";
    let job = cluster.sbatch("alice", &["--mem=100"], script).unwrap();
    wait_output(&cluster, job, "rc ");
    let output = cluster.job_output(job).unwrap();
    assert!(output.contains(&format!("job_{job}")), "not in a cgroup of its own: {output}");
    assert!(output.contains("rc 137"), "not killed: {output}");
}

#[test]
fn a_node_loses_power_and_boots_again() {
    if !can_run() {
        return;
    }
    let spec = ClusterSpec {
        nodes: 2,
        slurm_conf: vec!["SlurmdTimeout=5".to_owned()],
        ..ClusterSpec::named(name("power"))
    };
    let cluster = Cluster::up(spec).unwrap();
    let script = "#!/bin/bash\necho on $(hostname)\nsleep 1000\n";
    let args = ["--requeue", "--open-mode=append", "--nodelist=n1", "--mem=100"];
    let job = cluster.sbatch("alice", &args, script).unwrap();
    wait_output(&cluster, job, "on n1");
    cluster.exec("n1", "root", &["touch", "/run/volatile", "/etc/durable"]).unwrap();

    cluster.kill("n1").unwrap();
    assert!(matches!(cluster.exec("n1", "root", &["true"]), Err(Error::NodeDown { .. })));
    cluster.wait_job(job, "requeued", SOON, |job| job.state() == "PENDING").unwrap();
    cluster.kill("n1").unwrap(); // Of what has no power none can be taken.

    cluster.start("n1").unwrap();
    assert!(matches!(cluster.start("n1"), Err(Error::NodeUp { .. })));
    cluster.wait_idle(SOON).unwrap();
    assert!(!cluster.exec("n1", "root", &["test", "-e", "/run/volatile"]).unwrap().success());
    assert!(cluster.exec("n1", "root", &["test", "-e", "/etc/durable"]).unwrap().success());
    let uptime = cluster.exec("n1", "root", &["cat", "/proc/uptime"]).unwrap().stdout;
    let older = cluster.exec("n2", "root", &["cat", "/proc/uptime"]).unwrap().stdout;
    let seconds = |text: &str| text.split('.').next().unwrap().parse::<u64>().unwrap();
    assert!(seconds(&uptime) < seconds(&older), "a reboot must show in the node's clock");
}

#[test]
fn a_cable_is_pulled_and_put_back() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::up(ClusterSpec { nodes: 1, ..ClusterSpec::named(name("cable")) }).unwrap();
    let address = (cluster.ip("n1").unwrap(), SLURMD_PORT).into();
    let connects = || TcpStream::connect_timeout(&address, Duration::from_millis(500)).is_ok();
    assert!(connects());
    cluster.cut("n1").unwrap();
    assert!(!connects());
    assert!(!cluster.node("n1").unwrap().is_connected());
    // Commands on the node still run: power is not network.
    assert!(cluster.exec("n1", "root", &["true"]).unwrap().success());
    cluster.heal("n1").unwrap();
    wait_until("the node to answer again", SOON, || Ok(connects())).unwrap();
    cluster.wait_idle(SOON).unwrap();
}
