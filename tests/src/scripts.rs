//! Batch scripts that more than one suite runs.

/// Counts aloud, as fast as ten a second, in lines that show where one is missing, doubled or torn. Its first line
/// comes again only if it is started anew.
pub const COUNTER: &str = "#!/bin/bash
echo \"began restarts=${SLURM_RESTART_COUNT:-0}\"
for ((i = 1; i <= 100000; i++)); do echo \"tick $i of the counter\"; sleep 0.1; done
";

/// The numbers that [`COUNTER`] printed, in order of appearance.
///
/// # Panics
/// When a line of it is torn.
#[track_caller]
pub fn ticks(output: &str) -> Vec<u32> {
    let lines = output.lines().filter(|line| line.contains("tick"));
    let number = |line: &str| line.strip_prefix("tick ")?.strip_suffix(" of the counter")?.parse().ok();
    lines.map(|line| number(line).unwrap_or_else(|| panic!("a torn line: {line:?}"))).collect()
}

/// Fails unless the numbers are 1, 2, 3, ...
///
/// # Panics
/// With the first place where one is missing or doubled.
#[track_caller]
pub fn assert_counts(ticks: &[u32]) {
    let wrong = ticks.iter().zip(1..).position(|(tick, expected)| *tick != expected);
    if let Some(at) = wrong {
        let around = &ticks[at.saturating_sub(3)..ticks.len().min(at + 4)];
        panic!("the counter goes wrong after {} of {} lines: {around:?}", at, ticks.len());
    }
    assert!(!ticks.is_empty(), "the counter printed nothing");
}
