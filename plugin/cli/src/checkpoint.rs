//! `stasis checkpoint JOB`: asks the job's shepherd for a checkpoint through Slurm, and follows it in the event log.

use crate::error::{CliError, Result};
use crate::find::{self, Scope};
use crate::follow::{Follower, Progress, is_session};
use crate::text::{self, Style, Tone};
use crate::timeline::step_word;
use indicatif::{ProgressBar, ProgressStyle};
use nix::unistd::Uid;
use serde::Serialize;
use slurm_sys::{JobState, Slurm};
use stasis_contract::{Step, Trigger, format_bytes, format_seconds};
use stasis_image::{Job, Store};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The signal that the shepherd takes for a request: SIGRTMIN+6, see plugin/shepherd/src/signals.rs.
pub const REQUEST_SIGNAL: u16 = 40;
/// How often the event log is read.
const LOOK_EVERY: Duration = Duration::from_millis(150);
/// How often slurmctld is asked whether the job still runs.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// How long after the commit the shepherd's last lines are waited for.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Exit code when the outcome was not waited for.
pub const EXIT_TIMEOUT: u8 = 3;
/// Exit code after Ctrl-C, as shells write it.
pub const EXIT_INTERRUPTED: u8 = 130;

/// What became of the request, as far as it was followed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The job.
    pub job_id: u32,
    /// How far it was followed.
    #[serde(flatten)]
    pub progress: Progress,
    /// Why it was followed no longer, if it has not ended.
    pub stopped: Option<Stopped>,
    /// Seconds from the request.
    pub seconds: f64,
    /// Seconds for which the session was frozen.
    pub frozen_s: Option<f64>,
}

/// Why a checkpoint was not followed to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stopped {
    /// `--no-wait`.
    NotAsked,
    /// `--timeout` has passed.
    Timeout,
    /// Ctrl-C.
    Interrupted,
    /// The job runs no longer.
    JobGone,
}

/// A request that can be sent.
#[derive(Debug)]
pub struct Request {
    slurm: Slurm,
    job: Job,
    follower: Follower,
}

impl Request {
    /// Finds the job and makes sure that it is a session that can be asked.
    ///
    /// # Errors
    /// When it is none, does not run, or is somebody else's.
    pub fn prepare(slurm: Slurm, store: &Store, id: u32) -> Result<Self> {
        let known = slurm.job(id)?;
        let me = Uid::effective();
        if !me.is_root() && known.uid != me.as_raw() {
            let reason = format!("is {}'s: only they and root can checkpoint it", find::user_name(known.uid));
            return Err(CliError::NotNow { job: id, reason });
        }
        may_ask(&known)?;
        let cluster = slurm.site()?.cluster;
        let job =
            find::job(store, Scope::User(known.uid), Some(&cluster), id).map_err(|error| match error {
                CliError::NoSession { .. } => not_a_session(id, store),
                error => error,
            })?;
        let events = job.events()?.events;
        if !is_session(&events, known.restart_count) {
            return Err(not_a_session(id, store));
        }
        Ok(Self { slurm, follower: Follower::before(&events), job })
    }

    /// Sends the request.
    ///
    /// # Errors
    /// When slurmctld refuses.
    pub fn send(&self) -> Result<()> {
        Ok(self.slurm.signal_batch(self.job.job_id(), REQUEST_SIGNAL)?)
    }

    /// Follows the request until it has ended, time is up, or `interrupted` becomes true.
    ///
    /// # Errors
    /// When the event log cannot be read.
    pub fn follow(mut self, timeout: Duration, interrupted: &AtomicBool) -> Result<Report> {
        let started = Instant::now();
        let spinner = spinner();
        let mut next_ask = started + ASK_EVERY;
        let stopped = loop {
            let progress = self.follower.look(&self.job.events()?.events);
            if progress.is_final() {
                break None;
            }
            spinner.set_message(words(progress, &self.job));
            if interrupted.load(Ordering::Relaxed) {
                break Some(Stopped::Interrupted);
            }
            if started.elapsed() >= timeout {
                break Some(Stopped::Timeout);
            }
            if Instant::now() >= next_ask {
                next_ask = Instant::now() + ASK_EVERY;
                if self.is_gone() && !self.follower.look(&self.job.events()?.events).is_final() {
                    break Some(Stopped::JobGone);
                }
            }
            sleep(LOOK_EVERY);
        };
        let seconds = started.elapsed().as_secs_f64();
        self.await_last_lines(interrupted)?;
        spinner.finish_and_clear();
        Ok(Report {
            job_id: self.job.job_id(),
            frozen_s: self.follower.frozen_s,
            progress: self.follower.progress,
            stopped,
            seconds,
        })
    }

    /// The report of a request that is not followed.
    pub fn unfollowed(self) -> Report {
        Report {
            job_id: self.job.job_id(),
            progress: self.follower.progress,
            stopped: Some(Stopped::NotAsked),
            seconds: 0.0,
            frozen_s: None,
        }
    }

    /// A slurmctld that does not answer is no reason to stop waiting.
    fn is_gone(&self) -> bool {
        self.slurm.job(self.job.job_id()).is_ok_and(|job| job.state != JobState::Running && !job.completing)
    }

    fn await_last_lines(&mut self, interrupted: &AtomicBool) -> Result<()> {
        let deadline = Instant::now() + LAST_LINES;
        let committed = matches!(self.follower.progress, Progress::Committed { .. });
        while committed && self.follower.frozen_s.is_none() && Instant::now() < deadline {
            if interrupted.load(Ordering::Relaxed) {
                break;
            }
            sleep(LOOK_EVERY);
            self.follower.look(&self.job.events()?.events);
        }
        Ok(())
    }
}

/// Becomes true at Ctrl-C, which then no longer ends the program.
///
/// # Errors
/// When the handler cannot be set.
pub fn on_interrupt() -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&flag);
    ctrlc::set_handler(move || set.store(true, Ordering::Relaxed)).map_err(|error| CliError::Io {
        what: "listen for Ctrl-C".into(),
        source: std::io::Error::other(error),
    })?;
    Ok(flag)
}

fn may_ask(job: &slurm_sys::Job) -> Result<()> {
    let reason = match job.state {
        _ if !job.is_batch => "is no batch job: only sessions that sbatch started are kept",
        JobState::Running if !job.completing => return Ok(()),
        JobState::Running => "is leaving its node",
        JobState::Suspended => "is suspended by Slurm: ask again once it runs",
        JobState::Pending => "is pending: it has no processes to save; see `stasis list` for its images",
        JobState::Ended => "has ended",
    };
    Err(CliError::NotNow { job: job.id, reason: reason.into() })
}

fn not_a_session(id: u32, store: &Store) -> CliError {
    let reason = format!(
        "is not a session that Stasis keeps, as far as {} tells: submit it with `sbatch --stasis`, or name its store \
         with --store",
        store.path().display()
    );
    CliError::NotNow { job: id, reason }
}

/// Shown only on a terminal.
fn spinner() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})")
        .unwrap_or_else(|_| ProgressStyle::default_spinner());
    let spinner = ProgressBar::new_spinner().with_style(style);
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}

fn words(progress: &Progress, job: &Job) -> String {
    let Progress::Saving { image, step } = progress else {
        return "asked; waiting for the session's shepherd".into();
    };
    let doing = match step {
        Step::Trigger => "the session stands still while its memory is dumped",
        Step::Dump | Step::Freeze => "the session runs again, and its image is written",
        Step::Pack => "written, and made durable",
        step => step_word(*step),
    };
    let bytes = staged_bytes(job, *image).map(|bytes| format!(", {}", format_bytes(bytes)));
    format!("image {image}: {doing}{}", bytes.unwrap_or_default())
}

/// What the unfinished image takes by now. Only of one's own: root has no business in folders of users under its
/// own name, and the number is not worth more.
fn staged_bytes(job: &Job, image: u32) -> Option<u64> {
    if job.uid() != Uid::effective().as_raw() {
        return None;
    }
    let name = format!(".tmp-{image}-");
    let entries = std::fs::read_dir(job.path()).ok()?.flatten();
    let staged = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&name));
    let files = staged.filter_map(|entry| std::fs::read_dir(entry.path()).ok()).flatten().flatten();
    Some(files.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum())
}

impl Report {
    /// The exit code: 0 only if an image was committed, or waiting was not asked for.
    pub fn exit_code(&self) -> u8 {
        match (&self.progress, self.stopped) {
            (Progress::Committed { .. }, _) | (_, Some(Stopped::NotAsked)) => 0,
            (_, Some(Stopped::Timeout)) => EXIT_TIMEOUT,
            (_, Some(Stopped::Interrupted)) => EXIT_INTERRUPTED,
            _ => 1,
        }
    }

    /// The outcome for people.
    ///
    /// # Errors
    /// The complaint, when it is not what was asked for.
    pub fn render(&self, style: Style) -> std::result::Result<String, String> {
        let job = self.job_id;
        let later = format!("`stasis show {job}` tells how it ends");
        match (&self.progress, self.stopped) {
            (Progress::Committed { image, bytes, trigger }, _) => {
                Ok(self.committed(*image, *bytes, *trigger, style))
            }
            (Progress::Refused { message }, _) => Err(format!(
                "no checkpoint of job {job}: refused, and the session goes on: {}",
                text::message(message)
            )),
            (Progress::Failed { message }, _) => Err(format!(
                "no checkpoint of job {job}: it failed, and the session goes on: {}",
                text::message(message)
            )),
            (Progress::Ended, _) => {
                Err(format!("no checkpoint of job {job}: the session ended before it was taken"))
            }
            (_, Some(Stopped::NotAsked)) => Ok(format!("asked for a checkpoint of job {job}; {later}\n")),
            (_, Some(Stopped::Interrupted)) => {
                Err(format!("the checkpoint of job {job} goes on without this command; {later}"))
            }
            (_, Some(Stopped::JobGone)) => Err(format!(
                "job {job} no longer runs, and its log says of no new image; see `stasis show {job}`"
            )),
            (_, Some(Stopped::Timeout) | None) => Err(format!(
                "no outcome within {}; the checkpoint of job {job} may still go on, {later}",
                format_seconds(self.seconds)
            )),
        }
    }

    fn committed(&self, image: u32, bytes: Option<u64>, trigger: Trigger, style: Style) -> String {
        let mut facts = vec![format!("took {}", format_seconds(self.seconds))];
        facts.extend(bytes.map(|bytes| format!("{} in the store", format_bytes(bytes))));
        facts.extend(self.frozen_s.map(|frozen| format!("frozen for {}", format_seconds(frozen))));
        let done = style.mark(Tone::Good, &format!("image {image} of job {} is committed", self.job_id));
        let note = match trigger {
            Trigger::Request => "",
            _ => "\nIt was taken because the job leaves its node; the session goes on from it.",
        };
        format!("{done}: {}{note}\n", facts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn the_signal_is_the_shepherds() {
        let shepherd = include_str!("../../shepherd/src/signals.rs");
        assert!(shepherd.contains(&format!("pub const REQUEST: i32 = {REQUEST_SIGNAL};")));
    }

    fn report(progress: Progress, stopped: Option<Stopped>) -> Report {
        Report { job_id: 7, progress, stopped, seconds: 1.5, frozen_s: Some(0.4) }
    }

    #[test]
    fn only_a_committed_image_is_a_success() {
        let committed = Progress::Committed { image: 3, bytes: Some(2048), trigger: Trigger::Request };
        let message = || "a step\u{1b}[2J runs".to_owned();
        let outcomes = [
            (report(committed, None), 0),
            (report(Progress::Refused { message: message() }, None), 1),
            (report(Progress::Failed { message: message() }, None), 1),
            (report(Progress::Ended, None), 1),
            (report(Progress::Asked, Some(Stopped::JobGone)), 1),
            (report(Progress::Asked, Some(Stopped::Timeout)), EXIT_TIMEOUT),
            (report(Progress::Asked, Some(Stopped::Interrupted)), EXIT_INTERRUPTED),
            (report(Progress::Asked, Some(Stopped::NotAsked)), 0),
        ];
        for (report, code) in outcomes {
            assert_eq!(report.exit_code(), code, "{report:?}");
            let words = report.render(Style::plain());
            assert_eq!(words.is_ok(), code == 0, "{report:?}");
            let words = words.unwrap_or_else(|complaint| complaint);
            assert!(words.contains("job 7") && !words.contains('\u{1b}'), "{words:?}");
        }
    }

    #[test]
    fn an_outcome_as_it_reads() {
        let committed = |trigger| Progress::Committed { image: 3, bytes: Some(2048), trigger };
        assert_eq!(
            report(committed(Trigger::Request), None).render(Style::plain()).unwrap(),
            "image 3 of job 7 is committed: took 1.50 s, 2.0 KiB in the store, frozen for 0.40 s\n"
        );
        let other = report(committed(Trigger::Preemption), None).render(Style::plain()).unwrap();
        assert!(other.ends_with("the session goes on from it.\n"), "{other}");
    }

    #[test]
    fn the_bytes_of_an_unfinished_image_are_seen() {
        let place = fixture::Place::new();
        let job = place.job("cli", 7);
        place.commit(&job, 1, Trigger::Request, 60, "n1");
        for (folder, bytes) in [(".tmp-2-77-0", 300), (".tmp-22-77-0", 5_000)] {
            std::fs::create_dir(job.path().join(folder)).unwrap();
            std::fs::write(job.path().join(folder).join("pages-1.img"), vec![0; bytes]).unwrap();
        }
        let saving = Progress::Saving { image: 2, step: Step::Trigger };
        assert!(words(&saving, &job).ends_with("while its memory is dumped, 300 B"));
    }

    #[test]
    fn only_running_batch_jobs_are_asked() {
        let job = |state, name| fixture::slurm_job(7, state, name);
        assert!(may_ask(&job(JobState::Running, "RUNNING")).is_ok());
        for state in [JobState::Pending, JobState::Suspended, JobState::Ended] {
            assert!(may_ask(&job(state, "")).is_err());
        }
        let leaving = slurm_sys::Job { completing: true, ..job(JobState::Running, "COMPLETING") };
        assert!(may_ask(&leaving).is_err());
        let interactive = slurm_sys::Job { is_batch: false, ..job(JobState::Running, "RUNNING") };
        assert!(may_ask(&interactive).unwrap_err().to_string().contains("no batch job"));
    }
}
