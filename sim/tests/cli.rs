//! The command line as a user meets it: what every command leaves, what bad input says, and that an
//! interrupted run leaves nothing.

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

const SMALL: &str = include_str!("../scenarios/small.toml");
const TRACES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../workloads/traces");
const EVENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/events.jsonl");

/// A folder with the small scenario in it, and the command run there.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().expect("a folder"));
        place.write("small.toml", SMALL);
        place
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).expect("a file");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// All names, hidden ones too, in order.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path()).expect("a listing");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stasis-sim"));
        command.args(arguments).current_dir(self.path());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the program")
    }

    /// What a command prints that must succeed.
    fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {}: {errors}", output.status);
        String::from_utf8(output.stdout).expect("text")
    }

    /// What a command says that must fail, and leaves no other files than there were.
    fn fails(&self, arguments: &[&str]) -> String {
        let before = self.names();
        let output = self.run(arguments);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(matches!(output.status.code(), Some(1 | 2)), "{arguments:?}: {}: {errors}", output.status);
        assert_eq!(self.names(), before, "{arguments:?} left something");
        errors
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[test]
fn run_alone_shows_something_useful_and_json_says_what_it_was_made_from() {
    let place = Place::new();
    let shown = place.succeeds(&["run", "--replications", "1", "--no-attribution"]);
    assert!(shown.contains("factor saved against always-on") && shown.contains("| spot "), "{shown}");
    let result = json(&place.succeeds(&["run", "small.toml", "--json"]));
    assert_eq!(result["scenario"]["seed"], 1);
    assert_eq!(result["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(result["replications"], 4);
    assert!(result["attribution"]["idle"].as_f64().is_some_and(|factor| factor > 1.0), "{result}");
    assert_eq!(place.names(), ["small.toml"]);
}

#[test]
fn results_are_written_whole_and_the_same_at_any_number_of_threads() {
    let place = Place::new();
    for (name, threads) in [("one.json", "1"), ("two.json", "2"), ("one.csv", "1"), ("two.csv", "2")] {
        place.succeeds(&["run", "small.toml", "-o", name, "--threads", threads]);
    }
    assert_eq!(place.read("one.json"), place.read("two.json"));
    assert_eq!(place.read("one.csv"), place.read("two.csv"));
    assert!(place.read("one.csv").starts_with("scenario,cell,seed,version,replications,figure,mean,"));
}

#[test]
fn replications_go_on_until_the_interval_is_narrow() {
    let place = Place::new();
    let arguments = ["run", "small.toml", "--no-attribution", "--json", "--until-halfwidth"];
    let result = json(&place.succeeds(&[&arguments[..], &["5%"]].concat()));
    let figures = result["figures"].as_array().expect("figures");
    let money = figures.iter().find(|figure| figure["name"] == "money").expect("money");
    let (mean, half) = (money["mean"].as_f64().expect("mean"), money["halfwidth"].as_f64().expect("half"));
    assert!(half <= 0.05 * mean && result["replications"].as_u64() > Some(8), "{money}");
    assert!(place.fails(&[&arguments[..], &["5"]].concat()).contains("percent sign"));
}

#[test]
fn a_sessions_life_is_told_event_by_event() {
    let place = Place::new();
    let told = place.succeeds(&["run", "small.toml", "--explain", "3"]);
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].contains("asks for"), "{told}");
    assert!(lines.last().is_some_and(|line| line.contains("the user is done")), "{told}");
    assert!(told.contains("computes cell 1 for"), "{told}");
    assert!(place.fails(&["run", "small.toml", "--explain", "99999"]).contains("no session 99999"));
}

#[test]
fn a_sweep_and_a_page_of_it() {
    let place = Place::new();
    place.write("sweep.toml", "base = 'small.toml'\n[grid]\n'cloud.boot_s' = [10, 80]\nreplications = [2]\n");
    let shown = place.succeeds(&["sweep", "sweep.toml", "-o", "sweep.json"]);
    assert!(shown.contains("2 cells, 2 replications each"), "{shown}");
    let cells = json(&place.read("sweep.json"));
    assert_eq!(cells[0]["cell"]["cloud.boot_s"], 10);
    assert_eq!(cells[1]["cell"]["cloud.boot_s"], 80);
    // What a task of the job array writes is the same cell.
    place.succeeds(&["sweep", "sweep.toml", "--cell", "1", "-o", "cell.json"]);
    assert_eq!(json(&place.read("cell.json"))[0], cells[1]);
    place.succeeds(&["report", "sweep.json", "-o", "page.html"]);
    let page = place.read("page.html");
    assert!(page.trim_end().ends_with("</html>") && page.contains("<svg"), "the page is cut short");
    assert!(!page.contains("src=\"http") && !page.contains("<link"), "the page is not self-contained");
}

#[test]
fn two_scenarios_are_compared_in_pairs() {
    let place = Place::new();
    place.write("slow.toml", &SMALL.replace("boot_s = 40", "boot_s = 400"));
    let lines = json(&place.succeeds(&["compare", "small.toml", "slow.toml", "--json"]));
    let figures = lines["figures"].as_array().expect("figures");
    let wait = figures.iter().find(|line| line["figure"] == "start_wait_p50_s").expect("waits");
    assert!(wait["difference"]["mean"].as_f64().is_some_and(|s| (s - 360.0).abs() < 20.0), "{wait}");
    assert_eq!(wait["significant"], true);
    place.write("other.toml", &SMALL.replace("seed = 1", "seed = 2"));
    assert!(place.fails(&["compare", "small.toml", "other.toml"]).contains("different seeds"));
}

#[test]
fn from_a_trace_to_a_generator_to_a_run() {
    let place = Place::new();
    let trace = |name: &str| format!("{TRACES}/{name}");
    for (format, name) in [("swf", "jobs.swf"), ("sacct", "sacct.txt"), ("jupyterhub", "jupyterhub.log")] {
        let said = place.succeeds(&["import", format, &trace(name), "-o", "imported.csv"]);
        assert!(said.contains(" sessions, ") && said.contains("wrote imported.csv"), "{said}");
    }
    place.succeeds(&["import", "sessions", &trace("sessions.csv"), "-o", "sessions.csv"]);
    place.succeeds(&["fit", "sessions.csv", "-o", "generator.toml"]);
    place.succeeds(&["fit", "--lifetimes", &trace("lifetimes.csv"), "-o", "machines.toml"]);
    fs::create_dir(place.path().join("made")).expect("a folder");
    place.succeeds(&["generate", "generator.toml", "-o", "made"]);
    let made = place.read("made/sessions.csv");
    place.succeeds(&["generate", "generator.toml", "-o", "made"]);
    assert_eq!(made, place.read("made/sessions.csv"), "the same seed gave another trace");
    let (_, world) = SMALL.split_once("[policy]").expect("a policy");
    place.write(
        "replay.toml",
        &format!("name = 'x'\nreplications = 1\n[workload]\ntrace = 'made/sessions.csv'\n[policy]{world}"),
    );
    assert!(place.succeeds(&["run", "replay.toml"]).contains(" sessions, 1 replications"));
}

#[test]
fn a_real_log_calibrates_a_scenario() {
    let place = Place::new();
    let cost = place.succeeds(&["calibrate", EVENTS]);
    place.write("own.toml", &format!("{SMALL}\n{cost}"));
    let result = json(&place.succeeds(&["run", "own.toml", "--json", "--no-attribution"]));
    let found = json(&place.succeeds(&["calibrate", EVENTS, "--json"]));
    assert_eq!(result["scenario"]["cost"], found["cost"]);
}

#[test]
fn it_validates_itself() {
    let shown = Place::new().succeeds(&["validate"]);
    assert!(shown.contains(" figures hold") && !shown.contains("FAIL"), "{shown}");
}

#[test]
fn bad_input_is_named_by_file_line_and_key_and_leaves_nothing() {
    let place = Place::new();
    let scenario = |from: &str, to: &str| {
        place.write("bad.toml", &SMALL.replace(from, to));
        let line = SMALL.lines().position(|line| line.contains(from)).expect("the key") + 1;
        let error = place.fails(&["run", "bad.toml", "-o", "out.json"]);
        assert!(error.contains(&format!("bad.toml:{line}: ")), "line {line}: {error}");
        error
    };
    let error = scenario("boot_s = 40", "boot = 40");
    assert!(error.contains("unknown field `boot`"), "{error}");
    let error = scenario("notice_s = 120", "notice_s = -1");
    assert!(error.contains("notice_s"), "{error}");
    let error = scenario("think.log-normal = { median_s = 90,", "think.log-normal = { median = 90,");
    assert!(error.contains("keys in table: median, available keys: median_s"), "{error}");

    let sessions = fs::read_to_string(format!("{TRACES}/sessions.csv")).expect("the sample trace");
    let head: Vec<&str> = sessions.lines().take(2).collect();
    for (record, key) in [
        ("1,8,10,5,1000,0,1,,,", "end_s"),
        ("1,8,10,50,1000,0,1,20-15,,", "busy_s"),
        ("1,8,x,50,1000,0,1,,,", "submit_s"),
    ] {
        place.write("bad.csv", &format!("{}\n{record}\n", head.join("\n")));
        for command in
            [&["import", "sessions", "bad.csv", "-o", "o.csv"][..], &["fit", "bad.csv", "-o", "o.toml"]]
        {
            let error = place.fails(command);
            assert!(error.contains(&format!("bad.csv:3: {key}")), "{record}: {error}");
        }
    }
    place.write("bad.jsonl", "{\"step\":\"dump\"}\n");
    assert!(place.fails(&["calibrate", "bad.jsonl"]).contains("bad.jsonl:1: "));
    place.write("bad.json", "{}\n");
    assert!(place.fails(&["report", "bad.json", "-o", "o.html"]).contains("bad.json is not a result"));
    place.write("sweep.toml", "base = 'small.toml'\n[grid]\n'store.bandwith' = [1]\n");
    let error = place.fails(&["sweep", "sweep.toml", "-o", "o.json"]);
    assert!(error.contains("store.bandwith = 1: unknown field"), "{error}");
    assert!(place.fails(&["run", "gone.toml"]).contains("couldn't read gone.toml"));
}

/// Ctrl-C in the middle of something that would take minutes.
#[cfg(target_os = "linux")]
#[test]
fn an_interrupted_run_leaves_nothing() {
    let place = Place::new();
    let long =
        SMALL.replace("length_days = 2", "length_days = 36500").replace("per_day = 60", "per_day = 6000");
    place.write("long.toml", &long);
    let (workload, _) = long.split_once("[policy]").expect("a policy");
    let (_, generator) = workload.split_once("[workload.").expect("a workload");
    place.write("endless.toml", &format!("[{}", generator.replace("[workload.", "[")));
    let before = place.names();
    // Main thread, one that catches signals, one that runs replications, and one that makes their sessions.
    let runs = |process: u32| threads(process) == 4;
    // What is written has a name of its own until it is whole.
    let writes = |_| place.names() != before;
    let run = ["run", "long.toml", "-o", "out.json", "--threads", "1", "--no-attribution"];
    interrupt(&place, &run, runs);
    assert_eq!(place.names(), before);
    interrupt(&place, &["generate", "endless.toml"], writes);
    assert_eq!(place.names(), before);
}

/// Sends an interrupt once `began` says so, and checks what the program makes of it.
#[cfg(target_os = "linux")]
fn interrupt(place: &Place, arguments: &[&str], began: impl Fn(u32) -> bool) {
    let mut command = place.command(arguments);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program");
    while !began(child.id()) {
        std::thread::yield_now();
    }
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill");
    assert!(sent.success());
    let output = child.wait_with_output().expect("an end");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{arguments:?}: {errors}");
    assert!(errors.contains("interrupted; nothing was written"), "{errors}");
}

#[cfg(target_os = "linux")]
fn threads(process: u32) -> usize {
    fs::read_dir(format!("/proc/{process}/task")).expect("the process lives").count()
}
