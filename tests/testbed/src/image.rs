//! The node image: the root file system that every node of every cluster shares, read-only.
//!
//! It is built once, from the machine's own Debian archive and pip settings, and cached under the hash of its
//! recipe. A build happens under a lock and under a temporary name, and gets its real name by a rename at
//! the end, so an image that has its name is whole.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::fcntl::{Flock, FlockArg};

use crate::command::{on_path, run};
use crate::error::{Error, Result};
use crate::{apt, require_root};

const RECIPE: &str = include_str!("scripts/image.sh");
const PREFIX: &str = "node-image-";
const PARTIAL: &str = ".partial";

/// Where the image of this version of the recipe is, or will be.
pub fn path() -> PathBuf {
    let hash = blake3::hash(RECIPE.as_bytes()).to_hex();
    cache().join(format!("{PREFIX}{}", &hash[..16]))
}

/// The image's path, after building it if it is not there yet. That takes minutes; progress goes to stderr.
///
/// # Errors
/// When not root, or when the build fails: the error tells the end of its log.
pub fn ensure() -> Result<PathBuf> {
    let image = path();
    if image.is_dir() {
        return Ok(image);
    }
    require_root()?;
    let cache = cache();
    fs::create_dir_all(&cache).map_err(Error::io("make", &cache))?;
    let _lock = lock(&cache.join("node-image.lock"), Some("image: waiting for another build to end"))?;
    if !image.is_dir() {
        remove_partial(&cache)?;
        require_debootstrap()?;
        build(&image)?;
    }
    Ok(image)
}

fn cache() -> PathBuf {
    std::env::var_os("STASIS_CACHE").map_or_else(|| PathBuf::from("/var/cache/stasis"), PathBuf::from)
}

/// An exclusive lock on a file, held until dropped or until this process dies. If it has to wait for it, it says so.
pub(crate) fn lock(path: &Path, waiting: Option<&str>) -> Result<Flock<File>> {
    let file = File::create(path).map_err(Error::io("make", path))?;
    let file = match (Flock::lock(file, FlockArg::LockExclusiveNonblock), waiting) {
        (Ok(held), _) => return Ok(held),
        (Err((file, _)), None) => file,
        (Err((file, _)), Some(waiting)) => {
            eprintln!("{waiting}");
            file
        }
    };
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| Error::io("lock", path)(errno.into()))
}

/// Removes what broken builds left. With the lock held nobody else is building.
fn remove_partial(cache: &Path) -> Result<()> {
    let entries = fs::read_dir(cache).map_err(Error::io("list", cache))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|end| end == &PARTIAL[1..]) {
            fs::remove_dir_all(&path).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}

fn require_debootstrap() -> Result<()> {
    if on_path("debootstrap") {
        return Ok(());
    }
    eprintln!("image: installing debootstrap on this machine");
    let apt_get = |args: &[&str]| {
        let patient = ["-qq", "-y", "-o", "DPkg::Lock::Timeout=300"];
        let mut command = Command::new("apt-get");
        run(command.args(patient).args(args).env("DEBIAN_FRONTEND", "noninteractive"), b"")
    };
    apt_get(&["update"])?.checked("refresh the package lists in order to install debootstrap")?;
    apt_get(&["install", "--no-install-recommends", "debootstrap"])?
        .checked("install debootstrap; install it by hand, the node image needs it")?;
    Ok(())
}

fn build(image: &Path) -> Result<()> {
    let partial = image.with_extension(&PARTIAL[1..]);
    let log = image.with_extension("log");
    let built = run_recipe(&partial, &log)
        .and_then(|()| fs::rename(&partial, image).map_err(Error::io("give its name to", image)));
    if built.is_err() && partial.exists() {
        // No mount is left in it: they were in a namespace that is gone.
        fs::remove_dir_all(&partial).map_err(Error::io("remove", &partial))?;
    }
    built
}

/// Runs the recipe in mount and pid namespaces that die with this thread, keeping all it says in `log`.
fn run_recipe(root: &Path, log: &Path) -> Result<()> {
    fs::create_dir(root).map_err(Error::io("make", root))?;
    eprintln!("image: building {} (minutes; all that is said goes to {})", root.display(), log.display());
    let mut command = Command::new("setpriv");
    command
        .args([
            "--pdeathsig",
            "KILL",
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "bash",
            "-c",
            RECIPE,
        ])
        .env("ROOT", root)
        .env("MIRROR", apt::mirror()?)
        .env("PIP_WHERE", apt::pip_settings())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(Error::sys("start the build of the node image"))?;
    let mut kept = File::create(log).map_err(Error::io("make", log))?;
    for line in child.stderr.take().map(BufReader::new).into_iter().flat_map(BufRead::lines) {
        let line = line.map_err(Error::sys("read what the build says"))?;
        writeln!(kept, "{line}").map_err(Error::io("write", log))?;
        if line.starts_with("image: ") {
            eprintln!("{line}");
        }
    }
    let status = child.wait().map_err(Error::sys("wait for the build of the node image"))?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Command {
        what: "build the node image".to_owned(),
        command: "scripts/image.sh".to_owned(),
        status: status.to_string(),
        stderr: fs::read_to_string(log).unwrap_or_default() + "(all of it: " + &log.to_string_lossy() + ")",
    })
}
