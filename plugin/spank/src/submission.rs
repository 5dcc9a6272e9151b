//! What happens in sbatch, salloc and srun: defaults that make preemption survivable, and refusals of what
//! cannot work.

use crate::boundary::HookResult;
use crate::config::site;
use crate::option;
use std::io::Read;
use std::{env, fs};

/// Set by sbatch in the job's environment, with or without a prefix, so that an srun inside the job knows of the
/// job's option.
const INHERITED: [&[u8]; 2] =
    [b"_SLURM_SPANK_OPTION_stasis_stasis=", b"SLURM_SPANK__SLURM_SPANK_OPTION_stasis_stasis="];
/// How much of a script is searched for `#SBATCH` lines, which must come before its first command.
const SCRIPT_BYTES_MAX: u64 = 64 << 10;

/// Sets sbatch's defaults for the signal, requeueing and the open mode, where the user's environment has none.
///
/// sbatch reads these variables before it reads options, so whether the job uses Stasis has to be found out from
/// the command line and the script. A flag of the user's still overrides them.
pub(crate) fn set_defaults() {
    let Some(words) = asks_for_stasis() else { return };
    let grace_s = grace_s(&words).unwrap_or(site().grace_s);
    let defaults = [
        ("SBATCH_SIGNAL", format!("B:USR1@{grace_s}")),
        ("SBATCH_REQUEUE", "1".into()),
        ("SBATCH_OPEN_MODE", "append".into()),
    ];
    for (name, value) in defaults {
        if env::var_os(name).is_none() {
            env::set_var(name, value);
        }
    }
}

/// Refuses what can be known to be out of scope.
pub(crate) fn check() -> HookResult {
    if option::spec().is_none() {
        return Ok(());
    }
    let words = options();
    let program =
        words.first().map(|word| word.rsplit('/').next().unwrap_or(word).to_owned()).unwrap_or_default();
    match program.as_str() {
        "srun" if inherited() => Ok(()),
        "srun" | "salloc" => Err(format!(
            "--stasis works with sbatch alone: {program} ties the session to a terminal that cannot move"
        )
        .into()),
        _ => check_shape(&words),
    }
}

/// Whether this program was started inside a job with the option. srun sets the variable itself once it has read
/// its own options, so only the environment that it was started with tells.
fn inherited() -> bool {
    let environment = fs::read("/proc/self/environ").unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|entry| INHERITED.iter().any(|name| entry.starts_with(name)))
}

fn check_shape(words: &[String]) -> HookResult {
    if words.iter().any(|word| word == ":") || words.iter().any(|word| word == "hetjob") {
        return Err("--stasis: heterogeneous jobs are not supported: a session lives on one node".into());
    }
    match nodes(words) {
        Some(nodes) if nodes != "1" && nodes != "1-1" => {
            Err(format!("--stasis: a session lives on one node, and --nodes={nodes} may give it more").into())
        }
        _ => Ok(()),
    }
}

/// The words of the submission, if the job uses Stasis.
fn asks_for_stasis() -> Option<Vec<String>> {
    let words = options();
    words.iter().any(|word| is_ours(word)).then_some(words)
}

fn is_ours(word: &str) -> bool {
    word == "--stasis" || word.starts_with("--stasis=")
}

fn command_line() -> Vec<String> {
    let bytes = fs::read("/proc/self/cmdline").unwrap_or_default();
    bytes.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// The words of the submission: the command line up to the script, whose own arguments are none of Slurm's, and
/// then those of its `#SBATCH` lines.
fn options() -> Vec<String> {
    let mut words = command_line();
    let is_script = |(at, word): (usize, &String)| {
        let found = (at > 0 && !word.starts_with('-')).then(|| options_in(word)).flatten();
        found.map(|options| (at, options))
    };
    if let Some((at, of_script)) = words.iter().enumerate().find_map(is_script) {
        words.truncate(at);
        words.extend(of_script);
    }
    words
}

fn options_in(path: &str) -> Option<Vec<String>> {
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(SCRIPT_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.starts_with("#!").then(|| text.lines())?;
    let options = lines.take_while(|line| line.starts_with('#') || line.trim().is_empty());
    let options = options.filter_map(|line| line.strip_prefix("#SBATCH"));
    Some(options.flat_map(str::split_whitespace).map(str::to_owned).collect())
}

/// The grace time that the option gives, if any: Slurm must signal that early.
fn grace_s(words: &[String]) -> Option<u32> {
    let value = words.iter().rev().find_map(|word| word.strip_prefix("--stasis="))?;
    stasis_contract::UserOptions::parse(value).ok()?.grace_s
}

/// The value of the last `-N` or `--nodes`; options of the command line come first and win.
fn nodes(words: &[String]) -> Option<String> {
    for (index, word) in words.iter().enumerate() {
        let attached =
            word.strip_prefix("--nodes=").or_else(|| word.strip_prefix("-N").filter(|rest| !rest.is_empty()));
        match attached {
            Some(value) => return Some(value.trim_start_matches('=').to_owned()),
            None if word == "-N" || word == "--nodes" => return words.get(index + 1).cloned(),
            None => {}
        }
    }
    None
}
