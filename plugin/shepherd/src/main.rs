//! `stasis-shepherd`: one job's keeper on its node. Slurm's hooks start it; nobody types it.
//!
//! | words | who starts it | what it does |
//! |---|---|---|
//! | `run DOCUMENT SOCKET TASK` | the hook in the batch task | keeps the session until it ends or has left the node |
//! | `after JOB SITE` | the hook in the epilog | brings a requeued job back from the queue without delay |

mod after;
mod bundle;
mod checkpoint;
mod feed;
mod folders;
mod gate;
mod journal;
mod life;
mod node;
mod notice;
mod output;
mod pack;
mod plan;
mod restore;
mod signals;
mod start;

use anyhow::{Context, bail};
use std::process::ExitCode;

fn main() -> ExitCode {
    match serve(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("stasis-shepherd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(words: &[String]) -> anyhow::Result<ExitCode> {
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["run", document, socket, task] => {
            let document = document.parse().context("the document's descriptor")?;
            let socket = socket.parse().context("the socket's descriptor")?;
            life::run(document, socket, task.parse().context("the task's pid")?)
        }
        ["after", job, site] => {
            after::run(
                job.parse().context("the job's id")?,
                &serde_json::from_str(site).context("the site")?,
            )?;
            Ok(ExitCode::SUCCESS)
        }
        ["--version"] => {
            println!("stasis-shepherd {}", env!("CARGO_PKG_VERSION"));
            Ok(ExitCode::SUCCESS)
        }
        _ => bail!("Slurm's hooks start this program; to look at your checkpoints, run `stasis --help`"),
    }
}
