//! `stasis rm`: removes images. Says beforehand what that means, and never removes more than was said.

use crate::error::{CliError, Result};
use crate::find;
use crate::list::Known;
use crate::slurm;
use crate::text::{self, Style, Tone};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use stasis_contract::format_bytes;
use stasis_image::Job;
use std::io::{BufRead, IsTerminal, Write};

/// Which images of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Filter {
    /// Only this one.
    pub image: Option<u32>,
    /// Only those that were taken at least so many seconds ago.
    pub older_than_s: Option<u32>,
}

/// One image that is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Doomed {
    /// Its number.
    pub image: u32,
    /// Bytes in the store.
    pub bytes: u64,
}

/// What is to go of one job.
#[derive(Debug, Clone)]
pub struct Plan {
    job: Job,
    /// The images.
    pub images: Vec<Doomed>,
    /// How many images stay.
    pub staying: usize,
    /// Whether the job may still come back to its images.
    pub alive: bool,
    /// Whether the whole folder goes, with the event log and what unfinished checkpoints left.
    pub whole: bool,
}

/// What was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// Images.
    pub images: u64,
    /// Jobs whose event log went too.
    pub jobs: u64,
    /// Bytes in the store.
    pub bytes: u64,
    /// What could not be removed, and why.
    pub failures: Vec<String>,
}

/// Finds what is to go of one job. Of a job that may come back, or of which nobody knows, the event log stays.
///
/// # Errors
/// When the job's folder cannot be read, or has no such image.
pub fn plan(job: Job, known: Option<&Known>, filter: Filter, now_unix_ms: u64) -> Result<Plan> {
    let alive = known.is_none_or(|known| {
        // A job of another cluster is as unknown as one of a cluster that does not answer.
        known.cluster != job.cluster() || known.job(&job).is_some_and(|job| !slurm::is_over(job))
    });
    let all = job.images()?;
    if let Some(image) = filter.image.filter(|wanted| all.iter().all(|image| image.number() != *wanted)) {
        return Err(CliError::NoImage { job: job.job_id(), image });
    }
    let doomed = all.iter().filter(|image| {
        filter.image.is_none_or(|wanted| image.number() == wanted)
            && filter.older_than_s.is_none_or(|least| is_older(image, least, now_unix_ms))
    });
    let images: Vec<Doomed> = doomed
        .map(|image| Doomed { image: image.number(), bytes: image.stored_bytes().unwrap_or(0) })
        .collect();
    let staying = all.len() - images.len();
    let whole = !alive && staying == 0 && filter.image.is_none() && log_is_old(&job, filter, now_unix_ms);
    Ok(Plan { job, images, staying, alive, whole })
}

fn log_is_old(job: &Job, filter: Filter, now_unix_ms: u64) -> bool {
    let Some(least_s) = filter.older_than_s else { return true };
    let last = job.events().ok().and_then(|log| log.events.last().map(|event| event.at_unix_ms));
    last.is_none_or(|last| text::seconds_between(last, now_unix_ms) >= u64::from(least_s))
}

/// An image that does not say when it was taken is as old as one likes.
fn is_older(image: &stasis_image::Candidate, least_s: u32, now_unix_ms: u64) -> bool {
    image.peek().map_or(true, |manifest| {
        let taken = manifest.claims().origin.created_unix_ms;
        text::seconds_between(taken, now_unix_ms) >= u64::from(least_s)
    })
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty() && !self.whole
    }

    fn bytes(&self) -> u64 {
        self.images.iter().map(|image| image.bytes).sum()
    }

    /// One line that says what goes, and what that means.
    pub fn render(&self, style: Style) -> String {
        let numbers: Vec<String> = self.images.iter().map(|image| image.image.to_string()).collect();
        let what = match numbers.as_slice() {
            [] => "the event log".to_owned(),
            [one] => format!("image {one} ({})", format_bytes(self.bytes())),
            many => format!("images {} ({})", many.join(", "), format_bytes(self.bytes())),
        };
        let log = if self.whole && !numbers.is_empty() { " and the event log" } else { "" };
        let user = match find::user_name(self.job.uid()) {
            _ if self.job.uid() == nix::unistd::geteuid().as_raw() => String::new(),
            user => format!(" of {user}"),
        };
        let mut line = format!("job {}{user}: {what}{log}", self.job.job_id());
        if self.alive && self.staying == 0 {
            let warning = "its last: should the job be requeued before the next checkpoint, it starts anew";
            line = line + "; " + &style.mark(Tone::Warning, warning);
        }
        line + "\n"
    }
}

/// Asks on the terminal whether to go on.
///
/// # Errors
/// When there is no terminal to ask at.
pub fn confirm(plans: &[Plan], style: Style) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(CliError::Unconfirmed);
    }
    let mut err = std::io::stderr().lock();
    for plan in plans {
        let _ = write!(err, "{}", plan.render(style));
    }
    let _ = write!(err, "Remove {}? [y/N] ", if plans.len() == 1 { "this" } else { "these" });
    let _ = err.flush();
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.map_err(|source| CliError::Io { what: "read the answer".into(), source })?;
    Ok(is_yes(&answer))
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

/// Removes what is planned. A failure is noted, and the rest is removed all the same.
pub fn carry_out(plans: &[Plan]) -> Removed {
    let images: usize = plans.iter().map(|plan| plan.images.len()).sum();
    let bar = ProgressBar::new(images as u64).with_style(
        ProgressStyle::with_template("{bar:40} {pos} of {len} images, {eta} left")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let mut removed = Removed::default();
    for plan in plans {
        let failures = removed.failures.len();
        for image in &plan.images {
            match plan.job.remove_image(image.image) {
                Ok(done) => {
                    removed.images += 1;
                    removed.bytes += done.bytes;
                }
                Err(error) => removed.failures.push(text::message(&error.to_string())),
            }
            bar.inc(1);
        }
        if plan.whole && failures == removed.failures.len() {
            match plan.job.remove() {
                Ok(done) => {
                    removed.jobs += 1;
                    removed.bytes += done.bytes;
                }
                Err(error) => removed.failures.push(text::message(&error.to_string())),
            }
        }
    }
    bar.finish_and_clear();
    removed
}

impl Removed {
    /// The result for people.
    pub fn render(&self) -> String {
        let logs = match self.jobs {
            0 => String::new(),
            jobs => format!(" and {}", text::count(jobs, "event log")),
        };
        format!("removed {}{logs}, {} freed\n", text::count(self.images, "image"), format_bytes(self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{self, NOW_UNIX_MS, Place};
    use slurm_sys::JobState;
    use stasis_contract::{Step, Trigger};

    fn three_images(place: &Place) -> Job {
        let job = place.job("cli", 7);
        for (number, age_s) in [(1, 7_200), (2, 3_600), (3, 60)] {
            place.commit(&job, number, Trigger::Interval, age_s, "n1");
        }
        job.append_event(&fixture::event(Step::Start, 0)).unwrap();
        job
    }

    fn known(state: JobState) -> Known {
        Known { cluster: "cli".into(), jobs: vec![fixture::slurm_job(7, state, "?")] }
    }

    fn left(job: &Job) -> Vec<u32> {
        job.images().unwrap().iter().map(stasis_image::Candidate::number).collect()
    }

    #[test]
    fn only_what_was_asked_for_goes() {
        let place = Place::new();
        let job = three_images(&place);
        let ended = known(JobState::Ended);
        let one = Filter { image: Some(2), ..Filter::default() };
        let removed = carry_out(&[plan(job.clone(), Some(&ended), one, NOW_UNIX_MS).unwrap()]);
        assert_eq!((removed.images, removed.jobs, removed.failures.len()), (1, 0, 0));
        assert_eq!(left(&job), [3, 1]);
        let error = plan(job.clone(), Some(&ended), one, NOW_UNIX_MS).unwrap_err().to_string();
        assert!(error.starts_with("job 7 has no image 2"), "{error}");
        let old = Filter { older_than_s: Some(3_600), ..Filter::default() };
        carry_out(&[plan(job.clone(), Some(&ended), old, NOW_UNIX_MS).unwrap()]);
        assert_eq!(left(&job), [3]);
        let recent = Filter { older_than_s: Some(900), ..Filter::default() };
        assert!(plan(job.clone(), Some(&ended), recent, NOW_UNIX_MS).unwrap().is_empty());
        assert_eq!(job.events().unwrap().events.len(), 1, "the log stays");
        let rest = plan(job.clone(), Some(&ended), Filter::default(), NOW_UNIX_MS).unwrap();
        assert_eq!(rest.render(Style::plain()), "job 7: image 3 (1.0 MiB) and the event log\n");
        assert_eq!(carry_out(&[rest]).jobs, 1);
        assert!(!job.path().exists());
    }

    #[test]
    fn an_ended_jobs_log_goes_once_all_is_old() {
        let old = |seconds| Filter { older_than_s: Some(seconds), ..Filter::default() };
        let gone = known(JobState::Ended);
        for (seconds, whole) in [(60, true), (590, false)] {
            let place = Place::new();
            let job = place.job("cli", 7);
            place.commit(&job, 1, Trigger::Interval, 7_200, "n1");
            job.append_event(&fixture::event(Step::End, 20_000)).unwrap();
            let plan = plan(job.clone(), Some(&gone), old(seconds), NOW_UNIX_MS).unwrap();
            assert_eq!((plan.images.len(), plan.whole), (1, whole), "the log is 580 s old");
            carry_out(&[plan]);
            assert_eq!(job.path().exists(), !whole);
        }
    }

    #[test]
    fn an_old_log_does_not_take_a_young_image_with_it() {
        let place = Place::new();
        let job = three_images(&place);
        let old = Filter { older_than_s: Some(500), ..Filter::default() };
        carry_out(&[plan(job.clone(), Some(&known(JobState::Ended)), old, NOW_UNIX_MS).unwrap()]);
        assert_eq!(left(&job), [3]);
    }

    #[test]
    fn the_log_of_a_job_that_may_come_back_stays() {
        let elsewhere = Known { cluster: "other".into(), jobs: Vec::new() };
        for known in [Some(known(JobState::Pending)), Some(known(JobState::Running)), Some(elsewhere), None] {
            let place = Place::new();
            let job = three_images(&place);
            let plan = plan(job.clone(), known.as_ref(), Filter::default(), NOW_UNIX_MS).unwrap();
            assert!(plan.render(Style::plain()).contains("its last: should the job be requeued"));
            carry_out(&[plan]);
            assert!(left(&job).is_empty());
            assert_eq!(job.events().unwrap().events.len(), 1, "{known:?}");
        }
    }

    #[test]
    fn only_a_yes_is_a_yes() {
        for answer in ["y\n", "Y", " yes \n"] {
            assert!(is_yes(answer));
        }
        for answer in ["", "\n", "n", "yy", "yes please", "ja"] {
            assert!(!is_yes(answer), "{answer}");
        }
    }
}
