//! A cluster comes and goes without a trace, also when its boot was killed, and beside another one.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use stasis_testbed::{Cluster, ClusterSpec, Error, down, image, wait_until};

mod common;
use common::{Footprint, SOON, can_run, links, name};

const PROGRAM: &str = env!("CARGO_BIN_EXE_stasis-testbed");

#[test]
fn down_leaves_nothing_behind() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::up(ClusterSpec::named(name("down"))).unwrap();
    let dir = cluster.dir().to_owned();
    // A job and a shell that hang on must go with the rest.
    cluster.sbatch("alice", &["--mem=100"], "#!/bin/bash\ntrap '' TERM\nsleep 1000").unwrap();
    let mut shell = cluster.spawn("n2", "bob", &["sleep", "1000"]).unwrap();
    let footprint = Footprint::take(&cluster.spec().name, &dir);
    footprint.assert_substantial();
    let again = Cluster::up(cluster.spec().clone()).unwrap_err();
    assert!(matches!(again, Error::Exists { .. }), "{again}");

    let name = cluster.spec().name.clone();
    cluster.down().unwrap();
    assert!(!shell.wait().unwrap().success());
    footprint.assert_gone();
    down(&name).unwrap();
    assert!(matches!(Cluster::attach(&name), Err(Error::NoCluster { .. })));
}

#[test]
fn dropping_a_cluster_takes_it_down() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::up(ClusterSpec { nodes: 1, ..ClusterSpec::named(name("drop")) }).unwrap();
    let footprint = Footprint::take(&cluster.spec().name, cluster.dir());
    drop(cluster);
    footprint.assert_gone();
}

#[test]
fn down_removes_what_a_killed_up_left() {
    if !can_run() {
        return;
    }
    image::ensure().unwrap();
    // How far the boot has come when `up` is killed.
    for stage in [
        "",
        "state.json",
        "staged/3",
        "chassis.log",
        "chassis.ready",
        "nodes/ctl/boot.log",
        "nodes/n1/boot.log",
    ] {
        let name = name("killed");
        let base = std::env::var_os("STASIS_TESTBED_DIR").unwrap_or_else(|| "/var/lib/stasis-testbed".into());
        let dir = PathBuf::from(base).join(&name);
        let mut up = Command::new(PROGRAM)
            .args(["--name", &name, "up"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_until(&format!("{stage} of a cluster that boots"), SOON, || Ok(dir.join(stage).exists()))
            .unwrap();
        up.kill().unwrap(); // SIGKILL
        let footprint = Footprint::take(&name, &dir);
        up.wait().unwrap();
        down(&name).unwrap_or_else(|error| panic!("after {stage:?}: {error}"));
        footprint.assert_gone();
        // Whatever `up` had started and not yet tracked must have found no cluster to join.
        Footprint::take(&name, &dir).assert_gone();
    }
}

#[test]
fn two_clusters_live_side_by_side() {
    if !can_run() {
        return;
    }
    let one = Cluster::up(ClusterSpec { nodes: 1, ..ClusterSpec::named(name("one")) }).unwrap();
    let two = Cluster::up(ClusterSpec { nodes: 1, ..ClusterSpec::named(name("two")) }).unwrap();
    assert_ne!(one.ip("n1").unwrap(), two.ip("n1").unwrap());
    for (cluster, text) in [(&one, "first"), (&two, "second")] {
        let job = cluster
            .sbatch("alice", &["--mem=100"], &format!("#!/bin/bash\necho {text} $SLURM_JOB_ID\n"))
            .unwrap();
        assert_eq!(job.0, 1);
        cluster.wait_job_state(job, "COMPLETED", SOON).unwrap();
        assert_eq!(cluster.job_output(job).unwrap(), format!("{text} 1\n"));
    }
    let footprint = Footprint::take(&one.spec().name, one.dir());
    assert!(footprint.links().len() >= 2);
    one.down().unwrap();
    footprint.assert_gone();
    assert!(links().len() < footprint.links().len() || links() != *footprint.links());
    let job = two.sbatch("bob", &["--mem=100"], "#!/bin/bash\nhostname\n").unwrap();
    two.wait_job_state(job, "COMPLETED", SOON).unwrap();
}

#[test]
fn a_broken_plugin_stack_is_told_and_removed() {
    if !can_run() {
        return;
    }
    let spec = ClusterSpec {
        plugstack: vec!["required /usr/lib/no-such-plugin.so".to_owned()],
        nodes: 1,
        ..ClusterSpec::named(name("broken"))
    };
    let name = spec.name.clone();
    let error = Cluster::up(spec).unwrap_err().to_string();
    assert!(error.contains("n1") && error.contains("no-such-plugin.so"), "{error}");
    assert!(matches!(Cluster::attach(&name), Err(Error::NoCluster { .. })));
}
