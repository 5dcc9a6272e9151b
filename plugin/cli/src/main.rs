//! The program `stasis`: reads the command line, calls the library, and turns what it says into output and an exit
//! code. See the library's documentation for what belongs where.

use anyhow::{Context, Result};
use clap::{CommandFactory, Parser};
use nix::unistd::Uid;
use stasis_cli::args::{self, Cli, Common, Verb, Whose};
use stasis_cli::checkpoint::{self, Request};
use stasis_cli::error::CliError;
use stasis_cli::find::{self, JobName, Scope};
use stasis_cli::list::{self, Known};
use stasis_cli::output::{print, print_json, remark};
use stasis_cli::site::{self, Source};
use stasis_cli::text::Style;
use stasis_cli::{doctor, keygen, remove, show, slurm};
use stasis_contract::SiteConfig;
use stasis_image::{Job, Store};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            remark(&words(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes, without those that the error itself has told already.
fn words(error: &anyhow::Error) -> String {
    error.chain().skip(1).map(ToString::to_string).fold(error.to_string(), |told, cause| {
        if told.contains(&cause) { told } else { format!("{told}: {cause}") }
    })
}

fn run(cli: Cli) -> Result<ExitCode> {
    let common = &cli.common;
    match cli.verb {
        Verb::List(options) => run_list(common, &options),
        Verb::Show(options) => run_show(common, &options),
        Verb::Checkpoint(options) => run_checkpoint(common, &options),
        Verb::Rm(options) => run_rm(common, &options),
        Verb::Doctor(options) => run_doctor(common, &options),
        Verb::Keygen(options) => run_keygen(common, options.path),
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "stasis", &mut script);
            print(&String::from_utf8(script).context("the completions")?)?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::SlurmFacts => {
            print_json(&doctor::slurm_facts::gather()?)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn now_unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

fn config(common: &Common) -> Result<SiteConfig> {
    let found = site::find(common.config.as_deref())?;
    if found.source == Source::Defaults && common.store.is_none() {
        remark(&format!(
            "no plugstack.conf here has a line for spank_stasis.so: taking the default store {}",
            found.config.store.display()
        ));
    }
    Ok(found.config)
}

fn store(common: &Common) -> Result<Store> {
    let path = match &common.store {
        Some(path) => path.clone(),
        None => config(common)?.store,
    };
    // Where there is no store, "nothing found" would be the wrong answer.
    std::fs::metadata(&path).with_context(|| {
        format!(
            "cannot look at the store {}; name another with --store, or see `stasis doctor`",
            path.display()
        )
    })?;
    Ok(Store::open(&path)?)
}

fn run_list(common: &Common, options: &args::List) -> Result<ExitCode> {
    let scope = find::scope(options.user.as_deref(), options.all)?;
    let list = list::gather(&store(common)?, scope, Known::ask(scope), options.ended)?;
    if common.json {
        print_json(&list)?;
    } else {
        list.notes.iter().for_each(|note| remark(note));
        print(&list::render(&list, now_unix_ms(), Style::of_stdout()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The job in the store, and slurmctld's record of it where there is one.
fn find_job(common: &Common, name: JobName, whose: &Whose) -> Result<(Job, Result<Known, CliError>)> {
    let scope = find::scope(whose.user.as_deref(), false)?;
    let id = name.id(slurm::open())?;
    let known = Known::ask(scope);
    let store = store(common)?;
    let here = known.as_ref().ok().map(|known| known.cluster.clone());
    let found = find::job(&store, scope, whose.cluster.as_deref(), id);
    let job = match (found, here) {
        // Of the same number on several clusters, the one here is meant.
        (Err(CliError::Ambiguous { .. }), Some(here)) if whose.cluster.is_none() => {
            find::job(&store, scope, Some(&here), id)?
        }
        (found, _) => found?,
    };
    Ok((job, known))
}

fn run_show(common: &Common, options: &args::Show) -> Result<ExitCode> {
    let (job, known) = find_job(common, options.job, &options.whose)?;
    let mut notes = Vec::new();
    if let Err(error) = &known {
        notes.push(format!("name and state are missing: {error}"));
    }
    let record = known.as_ref().ok().and_then(|known| known.job(&job));
    let session = show::gather(&job, record, notes)?;
    if common.json {
        print_json(&session)?;
    } else {
        session.notes.iter().for_each(|note| remark(note));
        print(&show::render(&session, now_unix_ms(), options.full, Style::of_stdout()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn run_checkpoint(common: &Common, options: &args::Checkpoint) -> Result<ExitCode> {
    let slurm = slurm::open()?;
    let id = options.job.id(Ok(slurm))?;
    let request = Request::prepare(slurm, &store(common)?, id)?;
    let report = if options.no_wait {
        request.send()?;
        request.unfollowed()
    } else {
        let interrupted = checkpoint::on_interrupt()?;
        request.send()?;
        request.follow(Duration::from_secs(options.timeout.into()), &interrupted)?
    };
    if common.json {
        print_json(&report)?;
    } else {
        match report.render(Style::of_stdout()) {
            Ok(result) => print(&result)?,
            Err(complaint) => remark(&complaint),
        }
    }
    Ok(ExitCode::from(report.exit_code()))
}

fn run_rm(common: &Common, options: &args::Rm) -> Result<ExitCode> {
    let filter = remove::Filter { image: options.image, older_than_s: options.older_than };
    let (jobs, known) = match options.job {
        Some(name) => {
            let (job, known) = find_job(common, name, &options.whose)?;
            (vec![job], known)
        }
        None => all_jobs(common, &options.whose)?,
    };
    if let Err(error) = &known {
        remark(&format!("taking every job for one that may come back: {error}"));
    }
    let plan = |job| remove::plan(job, known.as_ref().ok(), filter, now_unix_ms());
    let mut plans = jobs.into_iter().map(plan).collect::<Result<Vec<_>, _>>()?;
    plans.retain(|plan| !plan.is_empty());
    let style = Style::of_stdout();
    if !plans.is_empty() && !options.yes && !remove::confirm(&plans, style)? {
        remark("nothing was removed");
        return Ok(ExitCode::FAILURE);
    }
    let removed = remove::carry_out(&plans);
    if common.json {
        print_json(&removed)?;
    } else {
        print(&removed.render())?;
        removed.failures.iter().for_each(|failure| remark(failure));
    }
    Ok(ExitCode::from(u8::from(!removed.failures.is_empty())))
}

fn all_jobs(common: &Common, whose: &Whose) -> Result<(Vec<Job>, Result<Known, CliError>)> {
    let scope = find::scope(whose.user.as_deref(), false)?;
    if scope == Scope::All {
        // Everybody's images are too much to lose to one word.
        return Err(CliError::Option {
            option: "--all",
            reason: "as root, name the user with --user".into(),
        }
        .into());
    }
    let mut jobs = find::jobs(&store(common)?, scope)?.jobs;
    if let Some(cluster) = &whose.cluster {
        jobs.retain(|job| job.cluster() == cluster);
    }
    Ok((jobs, Known::ask(scope)))
}

fn run_doctor(common: &Common, options: &args::Doctor) -> Result<ExitCode> {
    let parts = doctor::Parts { node: !options.site, site: !options.node };
    let report = doctor::examine(common.config.as_deref(), common.store.as_deref(), parts);
    if common.json {
        print_json(&report)?;
    } else {
        print(&report.render(Style::of_stdout()))?;
    }
    Ok(ExitCode::from(u8::from(report.has_failed())))
}

fn run_keygen(common: &Common, path: Option<PathBuf>) -> Result<ExitCode> {
    if !Uid::effective().is_root() {
        anyhow::bail!("the key must be root's: run this as root");
    }
    let path = match path {
        Some(path) => path,
        None => config(common)?.key,
    };
    let fingerprint = keygen::run(&path)?;
    if common.json {
        print_json(&serde_json::json!({ "path": path, "fingerprint": fingerprint }))?;
    } else {
        print(&format!(
            "made {} with fingerprint {fingerprint}; copy it to all nodes, owned by root, with mode 0400\n",
            path.display()
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}
