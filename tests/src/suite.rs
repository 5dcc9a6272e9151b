//! One suite: its cluster, its tests, and the pairs of nodes that they are lent.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};

use libtest_mimic::{Arguments, Trial};
use stasis_testbed::{Cluster, ClusterSpec, InstallFile, artifacts};

use crate::pair::Pair;

/// What the folders and cgroups of suites' clusters are named with.
const PREFIX: &str = "suite";

/// A program of tests on one cluster.
pub struct Suite {
    name: &'static str,
    spec: ClusterSpec,
    configuration: String,
    pairs: usize,
    tests: Vec<(&'static str, Test)>,
}

type Test = fn(&Pair<'_>);

impl Suite {
    /// A suite with two pairs of nodes: two tests run at a time.
    pub fn new(name: &'static str) -> Self {
        let spec = ClusterSpec { cpus: 4, memory_mb: 4000, ..ClusterSpec::default() };
        Self { name, spec, configuration: String::new(), pairs: 2, tests: Vec::new() }
    }

    /// How many tests run at a time.
    #[must_use]
    pub fn pairs(mut self, pairs: usize) -> Self {
        self.pairs = pairs;
        self
    }

    /// Changes what the cluster is to be.
    #[must_use]
    pub fn cluster(mut self, change: impl FnOnce(&mut ClusterSpec)) -> Self {
        change(&mut self.spec);
        self
    }

    /// Arguments of the plugin in plugstack.conf.
    #[must_use]
    pub fn configuration(mut self, arguments: &str) -> Self {
        arguments.clone_into(&mut self.configuration);
        self
    }

    /// Adds a test.
    #[must_use]
    pub fn test(mut self, name: &'static str, test: Test) -> Self {
        self.tests.push((name, test));
        self
    }

    /// Runs the tests that the command line asks for.
    pub fn run(mut self) -> ExitCode {
        let mut arguments = Arguments::from_args();
        arguments.test_threads.get_or_insert(self.pairs);
        let missing = if nix::unistd::geteuid().is_root() { None } else { Some("root's rights") };
        let skip =
            missing.filter(|_| std::env::var_os("STASIS_ALLOW_SKIP").is_some_and(|value| value == "1"));
        if let Some(missing) = skip {
            eprintln!("{}: skipped, for it needs {missing}", self.name);
        }
        let tests = std::mem::take(&mut self.tests);
        let bench = Arc::new(Bench {
            suite: self,
            cluster: OnceLock::new(),
            lent: Mutex::default(),
            back: Condvar::new(),
        });
        let trials = tests.into_iter().map(|(name, test)| {
            let bench = Arc::clone(&bench);
            let trial = Trial::test(name, move || {
                bench.run_with_patience(name, test)?;
                Ok(())
            });
            trial.with_ignored_flag(skip.is_some())
        });
        let conclusion = libtest_mimic::run(&arguments, trials.collect());
        drop(bench); // The cluster goes down with it.
        conclusion.exit_code()
    }
}

/// What the tests of a suite share while they run.
struct Bench {
    suite: Suite,
    cluster: OnceLock<Result<Cluster, String>>,
    lent: Mutex<Vec<usize>>,
    back: Condvar,
}

impl Bench {
    /// With `STASIS_RETRY=1`, for machines on which other things run: a test that fails is told of, and run once more.
    /// A fault of Stasis fails twice.
    fn run_with_patience(&self, name: &str, test: Test) -> Result<(), String> {
        let failed = match catch_unwind(AssertUnwindSafe(|| self.run(test))) {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(reason)) => return Err(reason),
            Err(panic) => panic,
        };
        if std::env::var_os("STASIS_RETRY").is_none_or(|value| value != "1") {
            resume_unwind(failed);
        }
        eprintln!("{name}: FAILED ONCE (see above), and is run once more");
        self.run(test)
    }

    fn run(&self, test: Test) -> Result<(), String> {
        let boot = || self.boot().map_err(|error| error.to_string());
        let cluster = self.cluster.get_or_init(boot).as_ref().map_err(Clone::clone)?;
        let number = self.lend();
        let _returned = Returned { bench: self, number };
        let pair = Pair::new(cluster, number);
        test(&pair);
        Ok(())
    }

    fn lend(&self) -> usize {
        let mut lent = self.lent.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(free) = (0..self.suite.pairs).find(|number| !lent.contains(number)) {
                lent.push(free);
                return free;
            }
            lent = self.back.wait(lent).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn boot(&self) -> stasis_testbed::Result<Cluster> {
        let mut spec = self.suite.spec.clone();
        let prefix = format!("{PREFIX}-{}-", self.suite.name);
        spec.name = format!("{prefix}{}", std::process::id());
        spec.nodes = 2 * self.suite.pairs;
        spec.plugstack.push(format!("required {} {}", artifacts::HOOKS, self.suite.configuration));
        spec.install = artifacts::find(&artifacts::folder()?)?;
        eprintln!("{}: {}", self.suite.name, describe(&spec.install));
        let cluster = Cluster::up(spec)?;
        artifacts::install_key(&cluster)?;
        stasis_testbed::down_abandoned(&prefix);
        for number in 0..self.suite.pairs {
            Pair::claim(&cluster, number)?;
        }
        Ok(cluster)
    }
}

/// A pair of nodes that goes back whatever became of the test.
struct Returned<'a> {
    bench: &'a Bench,
    number: usize,
}

impl Drop for Returned<'_> {
    fn drop(&mut self) {
        self.bench.lent.lock().unwrap_or_else(PoisonError::into_inner).retain(|lent| *lent != self.number);
        self.bench.back.notify_all();
    }
}

/// One line that says which builds these are, so that a log of a failure tells what it was a failure of.
fn describe(files: &[InstallFile]) -> String {
    let hash =
        |path: &Path| std::fs::read(path).map(|program| blake3::hash(&program).to_hex()[..12].to_owned());
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let words = files.iter().map(|file| {
        format!("{} {}", name(&file.from), hash(&file.from).unwrap_or_else(|error| error.to_string()))
    });
    words.collect::<Vec<_>>().join(", ")
}
