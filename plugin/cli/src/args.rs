//! The words of the command line, and all that `--help` says.

use crate::find::JobName;
use clap::{Args, Parser, Subcommand, ValueHint};
use std::path::PathBuf;

const ABOUT: &str = "Checkpoints of your Slurm sessions: look at them, ask for one, remove some.

A session is a batch job submitted with `sbatch --stasis`. When Slurm preempts it, it is frozen, saved as an image \
in the store, requeued, and brought back on another node with its memory, processes, terminals and open files. \
`stasis` shows what the store holds and what happened to each session. It works with your own rights, and there is \
no daemon behind it: it reads the store, and asks Slurm.";

const AFTER: &str = "\
Examples:
  sbatch --stasis session.sh       start a session that outlives its node
  stasis list                      your sessions, and how old their images are
  stasis show 4711                 images of job 4711, what happened to it
  stasis checkpoint 4711           save it now; it keeps running
  stasis rm 4711 --older-than 2d   remove images that are two days old
  stasis doctor                    what node and site lack, and what to do
  stasis list --json | jq '.sessions[] | select(.images == 0) | .job_id'

Exit codes:
  0    done; `checkpoint`: an image was committed; `doctor`: nothing failed
  1    not done, and standard error says why; `doctor`: a check failed
  2    the command line is wrong
  3    `checkpoint`: no outcome within --timeout; it may still go on
  130  `checkpoint`: interrupted by Ctrl-C; it goes on without this command

Environment:
  STASIS_CONFIG   as --config
  STASIS_STORE    as --store
  SLURM_CONF      Slurm's configuration, as for all of Slurm's commands
  NO_COLOR        if set and not empty: no colours (nor are there in a pipe)

Files:
  plugstack.conf
      Its line for spank_stasis.so holds the site's configuration, or names
      the file that does: config=/etc/stasis/stasis.toml
  /etc/stasis/key
      The site's key; readable by root alone.
  STORE/UID/CLUSTER/JOB/NUMBER/
      An image.
  STORE/UID/CLUSTER/JOB/events.jsonl
      What happened to a session, one JSON object a line.";

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "stasis",
    version,
    about = "Checkpoints of your Slurm sessions: look at them, ask for one, remove some",
    long_about = ABOUT,
    after_long_help = AFTER,
    after_help = "`stasis --help` has examples, exit codes, environment and files.",
    max_term_width = 110,
    arg_required_else_help = true
)]
pub struct Cli {
    /// What applies to all verbs.
    #[command(flatten)]
    pub common: Common,
    /// The verb.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What applies to all verbs.
#[derive(Debug, Args)]
pub struct Common {
    /// Print the result as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// The site's configuration (TOML), instead of what plugstack.conf says
    #[arg(long, global = true, value_name = "FILE", env = "STASIS_CONFIG", hide_env_values = true,
          value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// The store, instead of the site's: for jobs that were submitted with `--stasis=store=DIR`
    #[arg(long, global = true, value_name = "DIR", env = "STASIS_STORE", hide_env_values = true,
          value_hint = ValueHint::DirPath)]
    pub store: Option<PathBuf>,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List the sessions that have images, and those that run
    #[command(
        long_about = "List the sessions that have images, and those that run: yours, or as root everybody's.

STATE and NAME are what slurmctld knows; `gone` is a job that it has forgotten. NODE is where the session runs. \
NEWEST is the age of the newest image, SIZE what all images of the job take in the store, WHY what the newest \
image was taken for: preemption, time limit, request, interval, idle or drain.",
        after_long_help = "Examples:\n  stasis list\n  stasis list --user alice      as root\n  stasis list --ended --json"
    )]
    List(List),
    /// Show a session: its images, what happened to it, and where it can be reached
    #[command(
        long_about = "Show a session: its images, what happened to it, and where it can be reached.

Images are shown as they say of themselves; they are authenticated when they are restored. The table of events has \
a line for each step of each checkpoint and restore: AFTER is when it ended, counted from the first event, TOOK how \
long it took, BYTES what it moved. `freeze` is how long the session stood still.",
        after_long_help = "Examples:\n  stasis show 4711\n  stasis show 4711_3            task 3 of array 4711\n  \
                           stasis show 4711 --json | jq .totals.frozen_s"
    )]
    Show(Show),
    /// Save a running session now; it keeps running
    #[command(
        long_about = "Save a running session now; it keeps running.

Asks the session's shepherd through Slurm, and waits until an image is committed, or the checkpoint is refused or \
fails. A session that is refused goes on unharmed, and the reason is printed. Ctrl-C ends the waiting, not the \
checkpoint.",
        after_long_help = "Exit codes:
  0    an image was committed (with --no-wait: the request was sent)
  1    refused, failed, or the job is no running session
  3    no outcome within --timeout; it may still go on
  130  interrupted; it goes on

Examples:
  stasis checkpoint 4711
  stasis checkpoint 4711 --timeout 30s || echo 'not saved'
  stasis checkpoint 4711 --no-wait"
    )]
    Checkpoint(Checkpoint),
    /// Remove images
    #[command(
        long_about = "Remove images: of one job, or with --all of all your jobs; all of them, or those that --image and \
--older-than choose. Asks before, unless --yes is given. There is no way back.

Of a job that has ended, the event log goes with its last image (with --older-than: once it is as old, too). Of a job \
that may still come back, it stays; with its last image gone such a job would start anew from its script when requeued.",
        after_long_help = "Examples:\n  stasis rm 4711\n  stasis rm 4711 --image 2\n  stasis rm --all --older-than 30d --yes"
    )]
    Rm(Rm),
    /// Check whether sessions can be kept on this node and site, and say what to do where not
    #[command(
        long_about = "Check every precondition of this node and of the site, and say what to do where one does not hold.

As an ordinary user, checks that need root are skipped and named. Run it as root on a node (`srun -N1 -w NODE stasis \
doctor --node`) to see all. Run `stasis doctor --site` where you administrate Slurm.",
        after_long_help = "Exit codes:\n  0    nothing failed; there may be warnings\n  1    at least one check failed\n\n\
                           Examples:\n  stasis doctor\n  stasis doctor --json | jq '.findings[] | select(.verdict == \"fail\")'\n  \
                           scontrol show hostnames | xargs -I{} ssh {} stasis doctor --node"
    )]
    Doctor(Doctor),
    /// Make the site's key, once; then copy it to all nodes
    #[command(
        long_about = "Make the site's key, as root, once; then copy it to all nodes, with mode 0400. It authenticates images: \
without it, or with another one, none is restored. Prints the key's fingerprint, by which `stasis doctor` on each node \
tells whether it has the same. An existing key is never replaced."
    )]
    Keygen(Keygen),
    /// Print the completions for a shell
    #[command(
        after_help = "Example: stasis completions bash > ~/.local/share/bash-completion/completions/stasis"
    )]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print what Slurm says of the site, for `doctor`: libslurm ends the process where it has no configuration
    #[command(hide = true)]
    SlurmFacts,
}

/// Whose sessions.
#[derive(Debug, Args)]
pub struct Whose {
    /// Of this user, by name or uid (root only)
    #[arg(long, value_name = "USER", value_hint = ValueHint::Username)]
    pub user: Option<String>,
    /// On this cluster (ClusterName), where the store holds several
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
}

/// `stasis list`
#[derive(Debug, Args)]
pub struct List {
    /// Of this user, by name or uid (root only)
    #[arg(long, value_name = "USER", conflicts_with = "all", value_hint = ValueHint::Username)]
    pub user: Option<String>,
    /// Of everybody (root only, and root's default)
    #[arg(long)]
    pub all: bool,
    /// Also jobs that have ended and left nothing but their event log
    #[arg(long)]
    pub ended: bool,
}

/// `stasis show`
#[derive(Debug, Args)]
pub struct Show {
    /// The job's id, or ARRAY_TASK
    pub job: JobName,
    /// All events, not only the last ones
    #[arg(long)]
    pub full: bool,
    /// Whose it is.
    #[command(flatten)]
    pub whose: Whose,
}

/// `stasis checkpoint`
#[derive(Debug, Args)]
pub struct Checkpoint {
    /// The job's id, or ARRAY_TASK
    pub job: JobName,
    /// Wait for the outcome (the default)
    #[arg(long, overrides_with = "no_wait")]
    pub wait: bool,
    /// Send the request and do not wait for the outcome
    #[arg(long)]
    pub no_wait: bool,
    /// Wait no longer than this
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    pub timeout: u32,
}

/// `stasis rm`
#[derive(Debug, Args)]
pub struct Rm {
    /// The job's id, or ARRAY_TASK
    #[arg(required_unless_present = "all")]
    pub job: Option<JobName>,
    /// Only the image with this number
    #[arg(long, value_name = "NUMBER", conflicts_with = "all")]
    pub image: Option<u32>,
    /// Only images that were taken at least so long ago: 90s, 5m, 12h, 30d
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub older_than: Option<u32>,
    /// Of all your jobs (as root, name a --user)
    #[arg(long, conflicts_with = "job")]
    pub all: bool,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    /// Whose they are.
    #[command(flatten)]
    pub whose: Whose,
}

/// `stasis doctor`
#[derive(Debug, Args)]
pub struct Doctor {
    /// Only this node: programs, key, store, folders, kernel
    #[arg(long, conflicts_with = "site")]
    pub node: bool,
    /// Only the site: what Slurm's configuration says
    #[arg(long)]
    pub site: bool,
}

/// `stasis keygen`
#[derive(Debug, Args)]
pub struct Keygen {
    /// Where to put it, instead of where the site's configuration says
    #[arg(value_hint = ValueHint::FilePath)]
    pub path: Option<PathBuf>,
}

fn duration(text: &str) -> Result<u32, String> {
    stasis_contract::parse_duration_s(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_names_what_a_man_page_would() {
        let help = Cli::command().render_long_help().to_string();
        for part in ["Examples:", "Exit codes:", "Environment:", "Files:", "STASIS_CONFIG", "NO_COLOR"] {
            assert!(help.contains(part), "{part}");
        }
        assert!(!help.contains("slurm-facts"));
    }

    #[test]
    fn what_is_laid_out_by_hand_fits_a_terminal() {
        let long = AFTER.lines().find(|line| line.chars().count() > 79);
        assert_eq!(long, None);
    }

    #[test]
    fn verbs_are_read() {
        let read = |words: &[&str]| Cli::try_parse_from(words.iter().copied());
        let rm = read(&["stasis", "rm", "4711", "--older-than", "2d", "--json"]).unwrap();
        assert!(rm.common.json);
        assert!(matches!(rm.verb, Verb::Rm(Rm { older_than: Some(172_800), .. })));
        for wrong in [
            &["stasis", "rm"][..],
            &["stasis", "rm", "4711", "--all"],
            &["stasis", "rm", "--all", "--image", "2"],
            &["stasis", "rm", "4711", "--older-than", "-2d"],
            &["stasis", "show", "x"],
            &["stasis", "list", "--all", "--user", "alice"],
            &["stasis", "doctor", "--node", "--site"],
        ] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
