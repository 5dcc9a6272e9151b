//! `stasis list`: the sessions that have images, and those that run.

use crate::error::Result;
use crate::find::{self, Scope};
use crate::slurm;
use crate::text::{self, Style, Tone};
use serde::Serialize;
use stasis_contract::{Trigger, format_bytes};
use stasis_image::{Job, Store};

/// One session.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Slurm's job id.
    pub job_id: u32,
    /// The array and task that the job is, where slurmctld still knows.
    pub array_task: Option<(u32, u32)>,
    /// Uid of its user.
    pub uid: u32,
    /// Name of its user.
    pub user: String,
    /// Slurm's ClusterName.
    pub cluster: String,
    /// The job's name, where slurmctld still knows.
    pub name: Option<String>,
    /// The job's state, where slurmctld still knows.
    pub state: Option<String>,
    /// Node that it runs on.
    pub node: Option<String>,
    /// How many images it has.
    pub images: u64,
    /// How many folders look like images and cannot be read.
    pub unreadable_images: u64,
    /// Number of the newest image.
    pub newest_image: Option<u32>,
    /// When the newest image was taken, in milliseconds since the Unix epoch.
    pub newest_unix_ms: Option<u64>,
    /// Why the newest image was taken.
    pub newest_trigger: Option<Trigger>,
    /// Node on which the newest image was taken.
    pub newest_node: Option<String>,
    /// Bytes of all its images in the store.
    pub stored_bytes: u64,
    /// Its folder in the store.
    pub path: String,
}

/// All that the list shows.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct List {
    /// The sessions, by user, cluster and job id.
    pub sessions: Vec<Row>,
    /// What could not be found out, and why.
    pub notes: Vec<String>,
    /// How many ended jobs have left nothing but their event log; they are listed with `--ended`.
    pub ended_without_images: u64,
}

/// What slurmctld knows: its own name for the cluster, and the jobs.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// ClusterName.
    pub cluster: String,
    /// The jobs that it remembers.
    pub jobs: Vec<slurm_sys::Job>,
}

impl Known {
    /// Asks slurmctld about everything in the scope, with two requests.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn ask(scope: Scope) -> Result<Self> {
        let slurm = slurm::open()?;
        let uid = match scope {
            Scope::User(uid) => Some(uid),
            Scope::All => None,
        };
        Ok(Self { cluster: slurm.site()?.cluster, jobs: slurm.jobs(uid)? })
    }

    /// The record of a job in the store. The same number on another cluster is another job.
    pub fn job(&self, job: &Job) -> Option<&slurm_sys::Job> {
        let same = |known: &&slurm_sys::Job| known.id == job.job_id() && known.uid == job.uid();
        self.jobs.iter().find(same).filter(|_| self.cluster == job.cluster())
    }
}

/// Gathers the list. `ended` includes jobs that have left nothing but their event log.
///
/// # Errors
/// When the store cannot be read.
pub fn gather(store: &Store, scope: Scope, known: Result<Known>, ended: bool) -> Result<List> {
    let mut list = List::default();
    let known = known.unwrap_or_else(|error| {
        list.notes.push(format!("names and states are missing: {error}"));
        Known::default()
    });
    let listing = find::jobs(store, scope)?;
    for (uid, error) in &listing.unread {
        let message = text::message(&error.to_string());
        list.notes.push(format!("the sessions of {} cannot be read: {message}", find::user_name(*uid)));
    }
    for job in &listing.jobs {
        let known = known.job(job);
        match row(job, known) {
            Ok(row) => {
                let over = known.is_none_or(slurm::is_over);
                if row.images + row.unreadable_images == 0 && over && !ended {
                    list.ended_without_images += 1;
                } else {
                    list.sessions.push(row);
                }
            }
            Err(error) => list.notes.push(text::message(&error.to_string())),
        }
    }
    Ok(list)
}

fn row(job: &Job, known: Option<&slurm_sys::Job>) -> Result<Row> {
    let mut row = Row {
        job_id: job.job_id(),
        array_task: known.and_then(|known| known.array_task),
        uid: job.uid(),
        user: find::user_name(job.uid()),
        cluster: job.cluster().into(),
        name: known.map(|known| known.name.clone()),
        state: known.map(|known| slurm::state_word(known).into()),
        node: known.and_then(slurm::node).map(Into::into),
        images: 0,
        unreadable_images: 0,
        newest_image: None,
        newest_unix_ms: None,
        newest_trigger: None,
        newest_node: None,
        stored_bytes: 0,
        path: job.path().display().to_string(),
    };
    for image in job.images()? {
        // An image that is removed meanwhile takes no bytes.
        row.stored_bytes += image.stored_bytes().unwrap_or(0);
        let Ok(manifest) = image.peek() else {
            row.unreadable_images += 1;
            continue;
        };
        row.images += 1;
        if row.newest_image.is_none() {
            let origin = &manifest.claims().origin;
            row.newest_image = Some(image.number());
            row.newest_unix_ms = Some(origin.created_unix_ms);
            row.newest_trigger = Some(origin.trigger);
            row.newest_node = Some(origin.node.clone());
        }
    }
    Ok(row)
}

/// The list for people.
pub fn render(list: &List, now_unix_ms: u64, style: Style) -> String {
    let mut out = String::new();
    if list.sessions.is_empty() {
        out.push_str("No session has an image here. Start one with: sbatch --stasis session.sh\n");
    } else {
        out.push_str(&table(&list.sessions, now_unix_ms, style));
    }
    if list.ended_without_images > 0 {
        let ended = text::count(list.ended_without_images, "ended job");
        let note = format!("{ended} without images not shown; --ended shows them, too");
        out = out + "\n" + &style.mark(Tone::Faint, &note) + "\n";
    }
    out
}

fn table(rows: &[Row], now_unix_ms: u64, style: Style) -> String {
    let differ = |of: fn(&Row) -> &str| rows.iter().any(|row| of(row) != of(&rows[0]));
    let (users, clusters) = (differ(|row| &row.user), differ(|row| &row.cluster));
    let mut headings = vec![">JOB", "NAME", "STATE", "NODE", ">IMAGES", ">NEWEST", ">SIZE", "WHY"];
    if users {
        headings.insert(1, "USER");
    }
    if clusters {
        headings.insert(1, "CLUSTER");
    }
    let mut table = style.table(&headings, 0);
    for row in rows {
        let mut cells = vec![
            style.cell(None, job_label(row)),
            style.cell(None, text::name(row.name.as_deref().unwrap_or("-"))),
            state_cell(row.state.as_deref(), style),
            style.cell(None, text::name(row.node.as_deref().unwrap_or("-"))),
            style.cell(None, row.images),
            style.cell(None, newest(row, now_unix_ms)),
            style.cell(None, format_bytes(row.stored_bytes)),
            why_cell(row, style),
        ];
        if users {
            cells.insert(1, style.cell(None, text::name(&row.user)));
        }
        if clusters {
            cells.insert(1, style.cell(None, text::name(&row.cluster)));
        }
        table.add_row(cells);
    }
    text::lines(&table, 0)
}

fn job_label(row: &Row) -> String {
    match row.array_task {
        Some((array, task)) => format!("{} ({array}_{task})", row.job_id),
        None => row.job_id.to_string(),
    }
}

fn newest(row: &Row, now_unix_ms: u64) -> String {
    row.newest_unix_ms.map_or_else(
        || "-".into(),
        |taken| format!("{} ago", text::age(text::seconds_between(taken, now_unix_ms))),
    )
}

/// A state, in the colour of what it means for the session.
pub fn state_cell(state: Option<&str>, style: Style) -> comfy_table::Cell {
    let tone = state.map_or(Tone::Faint, state_tone);
    // slurmctld forgets ended jobs after MinJobAge, and knows none of other clusters.
    style.cell(Some(tone), state.unwrap_or("gone"))
}

/// What a state means for the session.
pub fn state_tone(state: &str) -> Tone {
    match state {
        "RUNNING" | "COMPLETED" => Tone::Good,
        "PENDING" | "REQUEUED" | "COMPLETING" | "SUSPENDED" => Tone::Warning,
        "CANCELLED" => Tone::Faint,
        _ => Tone::Bad,
    }
}

fn why_cell(row: &Row, style: Style) -> comfy_table::Cell {
    let why = row.newest_trigger.map_or("-", trigger_words).to_owned();
    match row.unreadable_images {
        0 => style.cell(None, why),
        bad => style.cell(Some(Tone::Bad), format!("{why}; {} unreadable", text::count(bad, "image"))),
    }
}

/// A trigger in words.
pub fn trigger_words(trigger: Trigger) -> &'static str {
    match trigger {
        Trigger::Preemption => "preemption",
        Trigger::TimeLimit => "time limit",
        Trigger::Request => "request",
        Trigger::Interval => "interval",
        Trigger::Idle => "idle",
        Trigger::Drain => "drain",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::CliError;
    use crate::fixture::{self, NOW_UNIX_MS, Place};
    use slurm_sys::JobState;
    use stasis_contract::Step;

    fn known(jobs: Vec<slurm_sys::Job>) -> Known {
        Known { cluster: "cli".into(), jobs }
    }

    fn me() -> Scope {
        Scope::User(nix::unistd::getuid().as_raw())
    }

    #[test]
    fn a_list_as_it_reads() {
        let place = Place::new();
        let job = place.job("cli", 7);
        place.commit(&job, 1, Trigger::Interval, 4_000, "n1");
        place.commit(&job, 2, Trigger::Preemption, 75, "n1");
        place.commit(&place.job("cli", 12), 1, Trigger::TimeLimit, 200_000, "n2");
        // A job that ended without an image, one that runs and has none yet, and one of another cluster.
        place.job("cli", 20).append_event(&fixture::event(Step::Start, 0)).unwrap();
        place.job("cli", 21).append_event(&fixture::event(Step::Start, 0)).unwrap();
        place.commit(&place.job("old", 7), 1, Trigger::Drain, 200_000, "x9");
        let jobs = vec![
            fixture::slurm_job(7, JobState::Running, "RUNNING"),
            fixture::slurm_job(21, JobState::Running, "RUNNING"),
        ];
        let list = gather(&place.store, me(), Ok(known(jobs)), false).unwrap();
        let golden = "\
JOB  CLUSTER  NAME      STATE    NODE  IMAGES    NEWEST     SIZE  WHY
  7  cli      notebook  RUNNING  n2         2  75 s ago  2.0 MiB  preemption
 12  cli      -         gone     -          1   2 d ago  1.0 MiB  time limit
 21  cli      notebook  RUNNING  n2         0         -      0 B  -
  7  old      -         gone     -          1   2 d ago  1.0 MiB  drain

1 ended job without images not shown; --ended shows them, too
";
        let seen = render(&list, NOW_UNIX_MS, Style::plain());
        assert_eq!(seen, golden, "\n{seen}");
        assert_eq!(gather(&place.store, me(), Ok(known(vec![])), true).unwrap().sessions.len(), 5);
    }

    #[test]
    fn a_torn_image_is_counted_and_shown() {
        let place = Place::new();
        let job = place.job("cli", 7);
        place.commit(&job, 1, Trigger::Request, 60, "n1");
        place.commit(&job, 2, Trigger::Request, 30, "n1");
        std::fs::remove_file(job.path().join("000002/manifest")).unwrap();
        let list = gather(&place.store, me(), Ok(known(vec![])), false).unwrap();
        assert_eq!((list.sessions[0].images, list.sessions[0].newest_image), (1, Some(1)));
        let seen = render(&list, NOW_UNIX_MS, Style::plain());
        assert!(seen.contains("request; 1 image unreadable"), "{seen}");
    }

    #[test]
    fn without_slurmctld_the_store_is_listed_all_the_same() {
        let place = Place::new();
        place.commit(&place.job("cli", 7), 1, Trigger::Request, 60, "n1");
        let silent = Err(CliError::NoSlurm("this machine has no slurm.conf".into()));
        let list = gather(&place.store, me(), silent, false).unwrap();
        assert_eq!(list.sessions.len(), 1);
        assert!(list.notes[0].starts_with("names and states are missing: this machine"), "{:?}", list.notes);
    }

    #[test]
    fn a_name_from_slurm_cannot_act_on_the_terminal() {
        let place = Place::new();
        place.commit(&place.job("cli", 7), 1, Trigger::Request, 60, "n1");
        let mut hostile = fixture::slurm_job(7, JobState::Running, "RUNNING");
        hostile.name = "a\u{1b}]0;owned\u{7}\n99 root".into();
        let list = gather(&place.store, me(), Ok(known(vec![hostile])), false).unwrap();
        let seen = render(&list, NOW_UNIX_MS, Style::plain());
        assert_eq!(seen.lines().count(), 2, "{seen}");
        assert!(!seen.contains(['\u{1b}', '\u{7}']), "{seen:?}");
    }
}
