//! The cells of a sweep as the tasks of a Slurm job array: submits it, waits for it, and puts the files that
//! the tasks left together, as text, so that the whole is to the byte what the sweep gives on one machine.

use super::directory;
use anyhow::{Context as _, bail, ensure};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Runs all cells and writes the results; `sbatch` is what the user adds to its arguments.
pub fn run(sweep: &Path, output: &Path, cells: usize, sbatch: &[String]) -> anyhow::Result<()> {
    ensure!(cells > 0, "the sweep has no cells");
    // On the file system of the result, which the tasks' nodes must share.
    let folder = tempfile::Builder::new()
        .prefix(".stasis-sim-cells-")
        .tempdir_in(directory(&std::path::absolute(output)?))
        .context("couldn't create a folder for the cells' results")?;
    let ending = if output.extension().is_some_and(|ending| ending == "csv") { "csv" } else { "json" };
    let script = folder.path().join("task.sh");
    std::fs::write(&script, task(sweep, folder.path(), ending)?)?;
    eprintln!("submitting {cells} cells as a job array, and waiting for them");
    submit_and_wait(&script, cells, sbatch)?;
    let parts: Vec<String> =
        (0..cells).map(|index| part(folder.path(), index, ending)).collect::<anyhow::Result<_>>()?;
    let whole = if ending == "csv" { join_csv(&parts) } else { join_json(&parts) };
    stasis_sim::output::write(output, whole.context("a cell's result is cut short")?.as_bytes())?;
    eprintln!("wrote {}", output.display());
    Ok(())
}

/// The script of one task: this program again, for one cell.
fn task(sweep: &Path, folder: &Path, ending: &str) -> anyhow::Result<String> {
    let program = std::env::current_exe().context("couldn't find this program")?;
    let sweep = std::path::absolute(sweep)?;
    let quoted = |path: &Path| format!("'{}'", path.display().to_string().replace('\'', "'\\''"));
    Ok(format!(
        "#!/bin/sh\nexec {} sweep {} --threads \"${{SLURM_CPUS_PER_TASK:-1}}\" --cell \"$SLURM_ARRAY_TASK_ID\" \
         --output {}/\"$SLURM_ARRAY_TASK_ID\".{ending}\n",
        quoted(&program),
        quoted(&sweep),
        quoted(folder),
    ))
}

/// Returns when the array has ended, well or not: what the tasks left tells. On Ctrl-C it is cancelled.
fn submit_and_wait(script: &Path, cells: usize, more: &[String]) -> anyhow::Result<()> {
    let logs = script.with_file_name("%a.log");
    let mut sbatch = Command::new("sbatch")
        .args(["--wait", "--parsable", "--job-name=stasis-sim"])
        .arg(format!("--array=0-{}", cells - 1))
        .arg(format!("--output={}", logs.display()))
        .args(more)
        .arg(script)
        .stdout(Stdio::piped())
        .spawn()
        .context("couldn't run sbatch")?;
    let mut line = String::new();
    if let Some(stdout) = sbatch.stdout.take() {
        BufReader::new(stdout).read_line(&mut line).context("couldn't read what sbatch says")?;
    }
    // `id` or `id;cluster`.
    let job = line.trim().split(';').next().unwrap_or_default().to_owned();
    if !job.is_empty() {
        eprintln!("job {job}");
    }
    let status = sbatch.wait().context("couldn't wait for sbatch")?;
    ensure!(!job.is_empty(), "sbatch took no job ({status})");
    if crate::STOP.load(Ordering::Relaxed) {
        cancel(&job).with_context(|| format!("interrupted; couldn't cancel job {job}"))?;
        bail!("interrupted; job {job} is cancelled and nothing was written");
    }
    Ok(())
}

/// Cancels a job and waits until its tasks are gone, as they write to a folder that is to be removed.
fn cancel(job: &str) -> anyhow::Result<()> {
    const LOOK_EVERY: Duration = Duration::from_millis(500);
    let status = Command::new("scancel").arg(job).status()?;
    ensure!(status.success(), "scancel failed ({status})");
    loop {
        let left = Command::new("squeue").args(["--noheader", "--job", job]).output()?;
        // A job that Slurm has forgotten is an error to squeue.
        if !left.status.success() || left.stdout.is_empty() {
            return Ok(());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn part(folder: &Path, index: usize, ending: &str) -> anyhow::Result<String> {
    let path: PathBuf = folder.join(format!("{index}.{ending}"));
    std::fs::read_to_string(&path).map_err(|_| {
        let log = std::fs::read_to_string(path.with_extension("log")).unwrap_or_default();
        anyhow::anyhow!("cell {index} left no result: {}", log.trim())
    })
}

/// Lists of one element each, as one list.
fn join_json(parts: &[String]) -> Option<String> {
    let inner = |part: &'_ String| Some(part.strip_prefix("[\n")?.strip_suffix("\n]\n")?.to_owned());
    let elements: Vec<String> = parts.iter().map(inner).collect::<Option<_>>()?;
    Some(format!("[\n{}\n]\n", elements.join(",\n")))
}

/// Tables with the same head, as one table.
fn join_csv(parts: &[String]) -> Option<String> {
    let (head, _) = parts.first()?.split_once('\n')?;
    let mut whole = format!("{head}\n");
    for part in parts {
        whole += part.strip_prefix(head)?.strip_prefix('\n')?;
    }
    Some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_together_are_what_one_machine_writes() {
        let list = |values: &[f64]| format!("{}\n", serde_json::to_string_pretty(values).expect("json"));
        let parts = [list(&[0.1]), list(&[2e-300]), list(&[3.0])];
        assert_eq!(join_json(&parts), Some(list(&[0.1, 2e-300, 3.0])));
        assert_eq!(join_json(&["[\n  1".into()]), None);
        let parts = ["a,b\n1,2\n".to_owned(), "a,b\n3,4\n".to_owned()];
        assert_eq!(join_csv(&parts).as_deref(), Some("a,b\n1,2\n3,4\n"));
        assert_eq!(join_csv(&["a,b\n1,2\n".into(), "b,a\n3,4\n".into()]), None);
    }

    #[test]
    fn paths_with_quotes_and_spaces_reach_the_task_whole() {
        let script = task(Path::new("/a b/it's.toml"), Path::new("/out"), "json").expect("a script");
        assert!(script.contains(r"sweep '/a b/it'\''s.toml' "), "{script}");
    }
}
