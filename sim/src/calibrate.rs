//! Fits a cost model to the event logs of real runs: a straight line of seconds over bytes for dumps and
//! for restores, by least squares, and the ratio of bytes stored to bytes dumped.

use serde::Serialize;
use stasis_contract::{CostModel, Event, Step};
use stasis_workloads::TraceError;
use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::Path;

/// A fitted cost model and how well it is known.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Calibration {
    /// The model; what the log does not tell is as by default.
    pub cost: CostModel,
    /// How many dumps and restores were used.
    pub dumps: usize,
    /// How many restores were used.
    pub restores: usize,
    /// Root mean square error of the fitted seconds of dumps.
    pub dump_error_s: f64,
    /// Root mean square error of the fitted seconds of restores.
    pub restore_error_s: f64,
    /// What could not be told from the log.
    pub notes: Vec<String>,
}

/// One image on its way: what its steps said.
#[derive(Debug, Clone, Copy, Default)]
struct Walk {
    resident_bytes: Option<f64>,
    frozen_s: Option<f64>,
    stored_bytes: Option<f64>,
    committed_ms: Option<u64>,
}

/// What a log's lines come to.
#[derive(Debug, Default)]
struct Found {
    /// By job and number of the image.
    walks: BTreeMap<(u32, u32), Walk>,
    /// The image that each job was restored from last, and the bytes that were read.
    restored: BTreeMap<u32, (u32, Option<f64>)>,
    /// Bytes and seconds.
    restores: Vec<(f64, f64)>,
    requeues_s: Vec<f64>,
}

impl Found {
    fn note(&mut self, event: &Event) {
        let bytes = event.bytes.map(|bytes| bytes as f64);
        match (event.step, event.image) {
            // A resume does not say from which image: that is the one of the restore before it.
            (Step::Resume, _) => self.note_resume(event),
            (Step::Restore, Some(image)) => {
                self.restored.insert(event.job_id, (image, bytes));
            }
            (step, Some(image)) => self.walks.entry((event.job_id, image)).or_default().note(step, event),
            _ => {}
        }
    }

    fn note_resume(&mut self, event: &Event) {
        let Some((image, read_bytes)) = self.restored.remove(&event.job_id) else { return };
        let walk = self.walks.get(&(event.job_id, image)).copied().unwrap_or_default();
        let Some(seconds) = event.seconds else { return };
        // What was read is what was dumped but for a little; it is all there is if the dump is in another log.
        if let Some(bytes) = walk.resident_bytes.or(read_bytes) {
            self.restores.push((bytes, seconds));
        }
        let began_ms = event.at_unix_ms as f64 - seconds * 1e3;
        self.requeues_s.extend(walk.committed_ms.map(|ms| ((began_ms - ms as f64) / 1e3).max(0.0)));
    }
}

impl Walk {
    fn note(&mut self, step: Step, event: &Event) {
        let bytes = event.bytes.map(|bytes| bytes as f64);
        match step {
            Step::Dump => {
                self.resident_bytes = bytes;
                self.frozen_s = self.frozen_s.or(event.seconds);
            }
            // The longest of what stops the session: it holds the dump, and what was left to pack after it.
            Step::Freeze => self.frozen_s = event.seconds.or(self.frozen_s),
            Step::Pack => self.stored_bytes = bytes,
            Step::Commit => self.committed_ms = Some(event.at_unix_ms),
            _ => {}
        }
    }
}

/// Reads event lines and fits.
///
/// # Errors
/// A line that is no event, with its number; a log without any dump.
pub fn calibrate(file: &Path, input: impl BufRead) -> Result<Calibration, TraceError> {
    let mut found = Found::default();
    for (number, line) in (1u64..).zip(input.lines()) {
        let line = line.map_err(|e| TraceError::io(file, "read", e))?;
        if line.trim().is_empty() {
            continue;
        }
        let event: Event =
            serde_json::from_str(&line).map_err(|e| TraceError::bad(file, number, "", e.to_string()))?;
        if event.seconds.is_some_and(|s| !(s >= 0.0 && s.is_finite())) {
            return Err(TraceError::bad(file, number, "seconds", "must be a finite number of 0 or more"));
        }
        found.note(&event);
    }
    fit(file, &found)
}

fn fit(file: &Path, found: &Found) -> Result<Calibration, TraceError> {
    let Found { walks, restores, requeues_s, .. } = found;
    let dumps: Vec<_> = walks.values().filter_map(|w| Some((w.resident_bytes?, w.frozen_s?))).collect();
    if dumps.is_empty() {
        return Err(TraceError::bad(file, 0, "step", "the log holds no dump with bytes and seconds"));
    }
    let mut cost = CostModel::default();
    let mut notes = Vec::new();
    let mut line = |what: &str, points: &[(f64, f64)], default: (f64, f64)| {
        least_squares(points).unwrap_or_else(|| {
            notes.push(format!(
                "{what}: too few sizes for a line; the default fixed part is kept if it can be"
            ));
            through_the_mean(points, default)
        })
    };
    let defaults =
        ((cost.dump_fixed_s, cost.dump_bytes_per_s), (cost.restore_fixed_s, cost.restore_bytes_per_s));
    (cost.dump_fixed_s, cost.dump_bytes_per_s) = line("dumps", &dumps, defaults.0);
    (cost.restore_fixed_s, cost.restore_bytes_per_s) = line("restores", restores, defaults.1);
    let ratios: Vec<_> = walks.values().filter_map(|w| Some(w.stored_bytes? / w.resident_bytes?)).collect();
    match median(&ratios) {
        Some(ratio) => cost.image_bytes_per_resident_byte = ratio,
        None => notes.push("no packed bytes; the default ratio is kept".into()),
    }
    match median(requeues_s) {
        Some(seconds) => cost.requeue_s = seconds,
        None => notes.push("no restore after a commit; the default requeue time is kept".into()),
    }
    let error = |points: &[(f64, f64)], fixed_s: f64, rate: f64| {
        let squares: f64 = points.iter().map(|&(bytes, s)| (fixed_s + bytes / rate - s).powi(2)).sum();
        (squares / points.len().max(1) as f64).sqrt()
    };
    Ok(Calibration {
        dump_error_s: error(&dumps, cost.dump_fixed_s, cost.dump_bytes_per_s),
        restore_error_s: error(restores, cost.restore_fixed_s, cost.restore_bytes_per_s),
        dumps: dumps.len(),
        restores: restores.len(),
        cost,
        notes,
    })
}

/// Fixed seconds and bytes per second of the line through (bytes, seconds); `None` without two sizes or if
/// more bytes do not take longer.
fn least_squares(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    let count = points.len() as f64;
    let mean_x = points.iter().map(|p| p.0).sum::<f64>() / count;
    let mean_y = points.iter().map(|p| p.1).sum::<f64>() / count;
    let xx: f64 = points.iter().map(|p| (p.0 - mean_x).powi(2)).sum();
    let xy: f64 = points.iter().map(|p| (p.0 - mean_x) * (p.1 - mean_y)).sum();
    if points.len() < 2 || xx <= 0.0 || xy <= 0.0 {
        return None;
    }
    let slope = xy / xx;
    let fixed_s = mean_y - slope * mean_x;
    if fixed_s >= 0.0 {
        return Some((fixed_s, 1.0 / slope));
    }
    // Nothing takes less than no time: the best line through the origin.
    let slope = points.iter().map(|p| p.0 * p.1).sum::<f64>() / points.iter().map(|p| p.0 * p.0).sum::<f64>();
    Some((0.0, 1.0 / slope))
}

/// The line through the mean of all points with the default fixed part, or with none if they took less than
/// that; the default without points.
fn through_the_mean(points: &[(f64, f64)], default: (f64, f64)) -> (f64, f64) {
    let bytes: f64 = points.iter().map(|point| point.0).sum();
    let seconds: f64 = points.iter().map(|point| point.1).sum();
    let fixed_s = if seconds > default.0 * points.len() as f64 { default.0 } else { 0.0 };
    let rate = bytes / (seconds - fixed_s * points.len() as f64);
    if rate.is_finite() && rate > 0.0 { (fixed_s, rate) } else { default }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn log(sizes_gb: &[f64]) -> String {
        let mut text = String::new();
        for (image, gb) in (1..).zip(sizes_gb) {
            let bytes = gb * 1e9;
            let event = |step: &str, ms: f64, more: &str| {
                format!(
                    "{{\"at_unix_ms\":{ms:.0},\"job_id\":7,\"restart_count\":0,\"node\":\"n1\",\"step\":\"{step}\",\
                     \"image\":{image}{more}}}\n"
                )
            };
            let at = f64::from(image) * 1e6;
            text += &event("dump", at, &format!(",\"seconds\":{},\"bytes\":{bytes:.0}", 0.2 + bytes / 1e9));
            text += &event("pack", at, &format!(",\"seconds\":1.0,\"bytes\":{:.0}", bytes / 2.0));
            text += &event("commit", at, "");
            let resume_s = 0.4 + bytes / 2e9;
            text += &event("restore", at + 4000.0 + resume_s * 1e3, &format!(",\"bytes\":{bytes:.0}"));
            let resume = event("resume", at + 4000.0 + resume_s * 1e3, &format!(",\"seconds\":{resume_s}"));
            text += &resume.replace(&format!(",\"image\":{image}"), "");
        }
        text
    }

    #[test]
    fn it_finds_the_model_that_made_the_log() {
        let found = calibrate(Path::new("e.jsonl"), log(&[0.5, 1.0, 4.0]).as_bytes()).expect("a fit");
        let close = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-3;
        assert!(close(found.cost.dump_fixed_s, 0.2) && close(found.cost.dump_bytes_per_s, 1e9), "{found:?}");
        assert!(close(found.cost.restore_fixed_s, 0.4) && close(found.cost.restore_bytes_per_s, 2e9));
        assert!(close(found.cost.image_bytes_per_resident_byte, 0.5) && close(found.cost.requeue_s, 4.0));
        assert!(found.dump_error_s < 1e-6 && found.notes.is_empty(), "{found:?}");
    }

    #[test]
    fn one_real_walk_gives_a_model_that_says_what_it_took() {
        let log = include_str!("../tests/data/events.jsonl");
        let found = calibrate(Path::new("events.jsonl"), log.as_bytes()).expect("a fit");
        assert_eq!((found.dumps, found.restores), (1, 1));
        assert!((found.cost.dump_s(1_139_859_456) - 1.152_295).abs() < 1e-5, "{found:?}");
        assert!((found.cost.restore_s(1_139_859_456) - 1.702_756).abs() < 1e-5, "{found:?}");
        assert!((found.cost.image_bytes_per_resident_byte - 0.694).abs() < 1e-3, "{found:?}");
        assert!((found.cost.requeue_s - 1.230).abs() < 1e-3, "{found:?}");
    }

    #[test]
    fn a_restore_counts_by_what_it_read_if_its_dump_is_in_another_log() {
        let real = include_str!("../tests/data/events.jsonl");
        let brought_back = real.lines().filter(|line| line.contains("\"restart_count\":1"));
        let text = log(&[1.0]) + &brought_back.collect::<Vec<_>>().join("\n");
        let found = calibrate(Path::new("events.jsonl"), text.as_bytes()).expect("a fit");
        assert_eq!((found.dumps, found.restores), (1, 2));
    }

    #[test]
    fn a_wrong_line_is_named_and_a_log_without_dumps_is_refused() {
        let text = format!("{}\n{{\"step\":3}}\n", log(&[1.0]).trim_end());
        let error = calibrate(Path::new("e.jsonl"), text.as_bytes()).expect_err("wrong").to_string();
        assert!(error.starts_with("e.jsonl:6: "), "{error}");
        assert!(calibrate(Path::new("e.jsonl"), "".as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,200}", at in 0usize..400) {
            let log = log(&[1.0, 2.0]);
            let at = (0..=at.min(log.len())).rev().find(|&i| log.is_char_boundary(i)).unwrap_or(0);
            let _ = calibrate(Path::new("e"), format!("{}{text}{}", &log[..at], &log[at..]).as_bytes());
        }
    }
}
