//! Finding the job that a person means, in the store and in slurmctld.

use crate::error::{CliError, Result};
use crate::text;
use nix::unistd::{Uid, User};
use slurm_sys::Slurm;
use stasis_image::{Job, Listing, Store};
use std::str::FromStr;

/// A job as people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobName {
    /// By its own id.
    Id(u32),
    /// As a task of an array.
    Task {
        /// The array's id.
        array: u32,
        /// The task's number.
        task: u32,
    },
}

impl FromStr for JobName {
    type Err = CliError;

    fn from_str(text: &str) -> Result<Self> {
        let number = |text: &str| {
            let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| text.parse().ok()).flatten()
        };
        let name = match text.split_once('_') {
            None => number(text).filter(|id| *id > 0).map(Self::Id),
            Some((array, task)) => {
                number(array).zip(number(task)).map(|(array, task)| Self::Task { array, task })
            }
        };
        name.ok_or_else(|| CliError::JobId(text::clean(text)))
    }
}

impl std::fmt::Display for JobName {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id(id) => write!(out, "{id}"),
            Self::Task { array, task } => write!(out, "{array}_{task}"),
        }
    }
}

impl JobName {
    /// The job's own id. Only slurmctld knows which one a task of an array has.
    ///
    /// # Errors
    /// When slurmctld does not know the task, or cannot be asked.
    pub fn id(self, slurm: Result<Slurm>) -> Result<u32> {
        match self {
            Self::Id(id) => Ok(id),
            Self::Task { array, task } => {
                let jobs = slurm?.jobs(None)?;
                let found = jobs.iter().find(|job| job.array_task == Some((array, task)));
                found.map(|job| job.id).ok_or(CliError::NoTask { array, task })
            }
        }
    }
}

/// Which sessions are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One user's.
    User(u32),
    /// Everybody's.
    All,
}

/// The scope that the options ask for: by default one's own, and for root everybody's.
///
/// # Errors
/// When there is no such user, or the caller may not look.
pub fn scope(user: Option<&str>, all: bool) -> Result<Scope> {
    let me = Uid::effective();
    match user {
        _ if all && !me.is_root() => Err(CliError::RootOnly("--all")),
        Some(name) => {
            let uid = uid_of(name)?;
            if me.is_root() || uid == me.as_raw() {
                Ok(Scope::User(uid))
            } else {
                Err(CliError::RootOnly("--user"))
            }
        }
        None if me.is_root() => Ok(Scope::All),
        None => Ok(Scope::User(me.as_raw())),
    }
}

fn uid_of(name: &str) -> Result<u32> {
    let by_name = User::from_name(name).ok().flatten().map(|user| user.uid.as_raw());
    by_name.or_else(|| name.parse().ok()).ok_or_else(|| CliError::NoUser(text::clean(name)))
}

/// A user's name; the number where there is no name.
pub fn user_name(uid: u32) -> String {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    user.map_or_else(|| uid.to_string(), |user| text::clean(&user.name))
}

/// Everything in the store that is in the scope.
///
/// # Errors
/// When the store cannot be read.
pub fn jobs(store: &Store, scope: Scope) -> Result<Listing> {
    match scope {
        Scope::User(uid) => Ok(Listing { jobs: store.list_for(uid)?, unread: Vec::new() }),
        Scope::All => Ok(store.list_all()?),
    }
}

/// The job's part of the store.
///
/// # Errors
/// When there is none, or more than one may be meant.
pub fn job(store: &Store, scope: Scope, cluster: Option<&str>, id: u32) -> Result<Job> {
    let listing = jobs(store, scope)?;
    let mut found: Vec<Job> = listing.jobs.into_iter().filter(|job| job.job_id() == id).collect();
    if let Some(cluster) = cluster {
        found.retain(|job| job.cluster() == cluster);
    }
    one(found, store, id)
}

fn one(mut found: Vec<Job>, store: &Store, id: u32) -> Result<Job> {
    match found.len() {
        0 => Err(CliError::NoSession {
            job: id.to_string(),
            store: store.path().into(),
            hint: " (one that was given a store of its own is found with --store)".into(),
        }),
        1 => Ok(found.remove(0)),
        _ => {
            let users = found.windows(2).any(|pair| pair[0].uid() != pair[1].uid());
            let choice = |job: &Job| {
                if users { user_name(job.uid()) } else { format!("cluster {}", job.cluster()) }
            };
            let choices = found.iter().map(choice).collect::<Vec<_>>().join(", ");
            let option = if users { "--user" } else { "--cluster" };
            Err(CliError::Ambiguous { job: id, choices, option })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::fixture::hostile_text;
    use proptest::prelude::*;

    #[test]
    fn jobs_are_written_as_slurm_writes_them() {
        assert_eq!("4711".parse::<JobName>().unwrap(), JobName::Id(4711));
        assert_eq!("4711_0".parse::<JobName>().unwrap(), JobName::Task { array: 4711, task: 0 });
        for text in ["", "0", "-1", "+1", "1.0", "4711_", "_3", "1_2_3", "99999999999", "a", "1\u{1b}"] {
            let error = text.parse::<JobName>().unwrap_err().to_string();
            assert!(error.contains("is not a job id") && !error.contains('\u{1b}'), "{error}");
        }
    }

    #[test]
    fn a_job_is_found_or_the_choice_is_named() {
        let place = fixture::Place::new();
        let uid = nix::unistd::getuid().as_raw();
        for cluster in ["east", "west"] {
            place.job(cluster, 7).append_event(&fixture::event(stasis_contract::Step::Start, 0)).unwrap();
        }
        let find = |cluster, id| job(&place.store, Scope::User(uid), cluster, id);
        assert_eq!(find(Some("west"), 7).unwrap().cluster(), "west");
        let error = find(None, 7).unwrap_err().to_string();
        assert!(error.contains("cluster east, cluster west") && error.contains("--cluster"), "{error}");
        let error = find(None, 8).unwrap_err().to_string();
        assert!(error.contains("nothing of job 8"), "{error}");
    }

    proptest! {
        #[test]
        fn what_parses_is_written_the_same(id in 1u32.., task in any::<u32>()) {
            prop_assert_eq!(format!("{id}").parse::<JobName>().unwrap().to_string(), format!("{id}"));
            let text = format!("{id}_{task}");
            prop_assert_eq!(text.parse::<JobName>().unwrap().to_string(), text);
        }

        #[test]
        fn no_name_panics(text in hostile_text()) {
            let _ = text.parse::<JobName>();
        }
    }
}
