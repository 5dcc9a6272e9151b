//! The table: what was measured beside what was aimed at.

use crate::machine::Machine;
use crate::results::{Measure, Method, Results};
use std::fmt::Write;
use std::io;
use std::path::Path;

/// No slower than plain CRIU by more than this.
const PLAIN_RATIO_MAX: f64 = 1.1;
/// podman takes at least so many times as long.
const PODMAN_RATIO_MIN: f64 = 3.0;
/// From a preemption to the first answer, in seconds, at [`MOVED_SIZE_GB`].
const MOVED_S_MAX: f64 = 8.0;
const MOVED_SIZE_GB: f64 = 1.0;

const BEGIN: &str = "<!-- session: begin -->";
const END: &str = "<!-- session: end -->";

const NOTES: &str = "\
Seconds of the fastest run, which the ratios are of, and in parentheses the median: on a virtual machine whose host takes \
free memory away, writing to memory is five times slower at times, for one method as for another. *frozen*: how long the session did not run, at a checkpoint after which it goes on (podman: as CRIU \
reports it to podman). *saved*: until the image is written; *durable*: until it is on the disk as well (plain CRIU and \
podman: `sync -f` afterwards; Stasis: committed to the shared store, compressed, authenticated and durable, so both are \
one). *restored*: from the beginning of the restore to the kernel's first answer (Stasis: of the verification; plain CRIU: \
of the making of the namespaces). *moved*: from the submission of the preempting job to the first answer on the other \
node; for plain CRIU and podman the sum of dump and restore on one node, with no scheduler and no way to the other node. \
All on one machine and one disk, read from a warm page cache.";

/// The whole table as Markdown.
pub fn markdown(results: &Results, machine: &Machine) -> String {
    let mut text = describe(machine);
    let each = |size: &f64| Method::ALL.map(|method| results.of(method, *size).count()).into_iter().max();
    let runs = results.sizes().iter().filter_map(each).max().unwrap_or(0);
    let _ = writeln!(text, "\n{NOTES} Runs of each: {runs}.\n");
    text.push_str("| array | | Stasis | plain CRIU | Stasis / CRIU | podman | podman / Stasis | targets |\n");
    text.push_str("|---|---|---|---|---|---|---|---|\n");
    for size_gb in results.sizes() {
        for measure in Measure::ALL {
            text.push_str(&row(results, size_gb, measure));
        }
    }
    text.push_str("\nWhere the time goes (medians in seconds, and the size of the image):\n\n");
    for size_gb in results.sizes() {
        for method in Method::ALL {
            text.push_str(&steps(results, size_gb, method));
        }
    }
    for failure in &results.failures {
        let _ = writeln!(text, "- FAILED: {failure}");
    }
    text
}

fn describe(machine: &Machine) -> String {
    format!(
        "{}: {}, {} cores, {} of them the job's, {:.0} GB, Linux {}, load average {:.2} at the start. {}.\n",
        machine.date,
        machine.cpu,
        machine.cores,
        machine.job_cores,
        machine.memory_gb,
        machine.kernel,
        machine.load,
        machine.versions.join(", ")
    )
}

fn row(results: &Results, size_gb: f64, measure: Measure) -> String {
    let of = |method| results.fastest(method, size_gb, measure);
    let both = |method| match (of(method), results.median(method, size_gb, measure)) {
        (Some(fastest), Some(median)) => format!("{fastest:.2} ({median:.2})"),
        _ => "–".to_owned(),
    };
    let (stasis, plain, podman) = (of(Method::Stasis), of(Method::Criu), of(Method::Podman));
    let to_plain = stasis.zip(plain).map(|(stasis, plain)| stasis / plain);
    let to_podman = stasis.zip(podman).map(|(stasis, podman)| podman / stasis);
    let name = match measure {
        Measure::Frozen => "frozen",
        Measure::Saved => "saved",
        Measure::Durable => "durable",
        Measure::Restored => "restored",
        Measure::Moved => "moved",
    };
    let targets = targets(measure, size_gb, stasis, to_plain, to_podman);
    let ratio = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.2}"));
    format!(
        "| {size_gb} GB | {name} | {} | {} | {} | {} | {} | {targets} |\n",
        both(Method::Stasis),
        both(Method::Criu),
        ratio(to_plain),
        both(Method::Podman),
        ratio(to_podman)
    )
}

/// What was aimed at, and whether it was reached.
fn targets(
    measure: Measure,
    size_gb: f64,
    stasis: Option<f64>,
    to_plain: Option<f64>,
    to_podman: Option<f64>,
) -> String {
    let verdict = |reached: bool| if reached { "reached" } else { "MISSED" };
    let mut words = Vec::new();
    if measure != Measure::Moved
        && let Some(ratio) = to_plain
    {
        words.push(format!("≤ {PLAIN_RATIO_MAX} × CRIU: {}", verdict(ratio <= PLAIN_RATIO_MAX)));
    }
    if matches!(measure, Measure::Saved | Measure::Restored)
        && let Some(ratio) = to_podman
    {
        words.push(format!("podman ≥ {PODMAN_RATIO_MIN} ×: {}", verdict(ratio >= PODMAN_RATIO_MIN)));
    }
    if measure == Measure::Moved
        && size_gb.total_cmp(&MOVED_SIZE_GB).is_eq()
        && let Some(seconds) = stasis
    {
        words.push(format!("< {MOVED_S_MAX} s: {}", verdict(seconds < MOVED_S_MAX)));
    }
    words.join("; ")
}

fn steps(results: &Results, size_gb: f64, method: Method) -> String {
    let steps: Vec<String> =
        results.steps(method, size_gb).iter().map(|(name, seconds)| format!("{name} {seconds:.3}")).collect();
    let Some(sample) = results.of(method, size_gb).next() else { return String::new() };
    format!("- {size_gb} GB, {method} ({:.2} GB): {}\n", sample.image_bytes as f64 / 1e9, steps.join(", "))
}

/// Puts the table in the place of the last one, or at the end.
pub fn write_into(readme: &Path, table: &str) -> io::Result<()> {
    let text = match std::fs::read_to_string(readme) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => "# Benches\n".to_owned(),
        other => other?,
    };
    std::fs::write(readme, with_table(&text, table))
}

fn with_table(text: &str, table: &str) -> String {
    let (begin, end) = (text.find(BEGIN), text.find(END).map(|at| at + END.len()));
    let block = format!("{BEGIN}\n{table}{END}");
    match (begin, end) {
        (Some(begin), Some(end)) if begin < end => format!("{}{block}{}", &text[..begin], &text[end..]),
        _ => format!("{}\n\n## Sessions: Stasis, plain CRIU and podman\n\n{block}\n", text.trim_end()),
    }
}
