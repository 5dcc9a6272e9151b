//! Looking at one thing of the node: a program's output, a file, a folder's file system, a library's symbol. Nothing
//! here changes anything, and nothing waits for ever.

use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access};
use object::{Object, ObjectSection, ObjectSymbol};
use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

/// Most of a program's output that is read.
const OUTPUT_BYTES_MAX: u64 = 1 << 20;
/// Folders with programs, as the shepherd's PATH has them.
const PROGRAM_FOLDERS: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// What names of plugins start with that every Slurm brings itself.
const SLURMS_OWN: [&str; 4] = ["auth_", "cred_", "preempt_", "proctrack_"];
/// How many of them are looked at.
const NEIGHBOURS_MAX: usize = 4;

/// How a program went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Whether it ended with 0.
    pub success: bool,
    /// Its standard output.
    pub output: String,
    /// Its standard error.
    pub errors: String,
}

/// Runs a program, and ends it when it takes too long.
///
/// # Errors
/// When it cannot be run or takes too long.
pub fn run(program: &Path, arguments: &[&str], patience: Duration) -> Result<Run, String> {
    let name = program.display();
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("cannot run {name}: {error}"))?;
    let output = child.stdout.take().map(|stream| thread::spawn(move || read(stream)));
    let errors = child.stderr.take().map(|stream| thread::spawn(move || read(stream)));
    let deadline = Instant::now() + patience;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|error| format!("cannot wait for {name}: {error}"))? {
            break status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("{name} did not end within {} s", patience.as_secs()));
        }
        sleep(Duration::from_millis(5));
    };
    let text = |reader: Option<thread::JoinHandle<String>>| {
        reader.and_then(|reader| reader.join().ok()).unwrap_or_default()
    };
    Ok(Run { success: status.success(), output: text(output), errors: text(errors) })
}

fn read(stream: impl Read) -> String {
    let mut bytes = Vec::new();
    let _ = stream.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A file or folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub path: PathBuf,
    /// What it is, or why that cannot be seen.
    pub meta: Result<Meta, Unseen>,
}

/// What a file or folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// Its owner.
    pub uid: u32,
    /// Its permission bits.
    pub mode: u32,
    /// Its kind.
    pub kind: Kind,
}

/// The kind of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A character device.
    Device,
    /// Anything else.
    Other,
}

/// Why a file cannot be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unseen {
    /// It does not exist.
    Missing,
    /// This user may not look.
    Hidden,
    /// Something else.
    Error(String),
}

/// Looks at a file or folder; links are followed.
pub fn entry(path: &Path) -> Entry {
    let meta = fs::metadata(path).map(|meta| Meta {
        uid: meta.uid(),
        mode: meta.mode() & 0o7777,
        kind: match meta.file_type() {
            kind if kind.is_file() => Kind::File,
            kind if kind.is_dir() => Kind::Folder,
            kind if kind.is_char_device() => Kind::Device,
            _ => Kind::Other,
        },
    });
    let meta = meta.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Unseen::Missing,
        std::io::ErrorKind::PermissionDenied => Unseen::Hidden,
        _ => Unseen::Error(error.to_string()),
    });
    Entry { path: path.into(), meta }
}

/// A folder and the file system that it is on; where it does not exist yet, that of the nearest one above.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// The folder itself.
    pub entry: Entry,
    /// Type of the file system, such as `nfs4`.
    pub file_system: Option<String>,
    /// Bytes that users can still write.
    pub free_bytes: Option<u64>,
    /// Why this user cannot create files there, if so.
    pub unwritable: Option<String>,
}

/// Looks at a folder.
pub fn folder(path: &Path) -> Folder {
    let nearest = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let space = statvfs(nearest).ok();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let real = nearest.canonicalize().unwrap_or_else(|_| nearest.into());
    Folder {
        entry: entry(path),
        file_system: file_system(&mounts, &real),
        free_bytes: space.map(|space| space.blocks_available().saturating_mul(space.fragment_size())),
        unwritable: access(path, AccessFlags::W_OK | AccessFlags::X_OK)
            .err()
            .map(|errno| errno.desc().to_lowercase()),
    }
}

/// Type of the file system that a path is on, by the longest mount point; of two mounts on one point, the later.
fn file_system(mounts: &str, path: &Path) -> Option<String> {
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        Some((PathBuf::from(unescape(words.next()?)), words.next()?))
    });
    let around = mounts.filter(|(point, _)| path.starts_with(point));
    around.max_by_key(|(point, _)| point.components().count()).map(|(_, kind)| kind.to_owned())
}

/// The kernel writes blanks in mount points as `\040` and the like.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (code, plain)| text.replace(code, plain))
}

/// Finds a program by its name where the shepherd would.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = PROGRAM_FOLDERS.iter().map(|folder| Path::new(folder).join(name));
    path.into_iter().find(|path| access(path, AccessFlags::X_OK).is_ok())
}

/// The Slurm version that a plugin was built for: its symbol `plugin_version`, numbered as in slurm.h.
///
/// # Errors
/// When the file is no plugin of Slurm's.
pub fn plugin_version(path: &Path) -> Result<u32, String> {
    let bytes = fs::read(path).map_err(|error| format!("cannot be read: {error}"))?;
    version_symbol(&bytes).ok_or_else(|| "has no symbol plugin_version, so it is no plugin of Slurm's".into())
}

fn version_symbol(bytes: &[u8]) -> Option<u32> {
    let file = object::File::parse(bytes).ok()?;
    let symbol = file.dynamic_symbols().find(|symbol| symbol.name() == Ok("plugin_version"))?;
    let section = file.section_by_index(symbol.section_index()?).ok()?;
    let value = section.data_range(symbol.address(), 4).ok()??;
    Some(u32::from_le_bytes(value.try_into().ok()?))
}

/// The Slurm version that the plugins beside ours are for, which is that of the Slurm that loads them all.
pub fn neighbours_version(plugin: &Path) -> Option<u32> {
    let entries = fs::read_dir(plugin.parent()?).ok()?.flatten().map(|entry| entry.path());
    let mut neighbours: Vec<PathBuf> = entries
        .filter(|path| path.extension().is_some_and(|extension| extension == "so") && path != plugin)
        .filter(|path| SLURMS_OWN.iter().any(|start| name_of(path).starts_with(start)))
        .collect();
    neighbours.sort();
    neighbours.iter().take(NEIGHBOURS_MAX).find_map(|path| plugin_version(path).ok())
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The kernel's configuration, where it can be read.
pub fn kernel_config(release: &str) -> Option<String> {
    if let Ok(text) = fs::read_to_string(format!("/boot/config-{release}")) {
        return Some(text);
    }
    let packed = Path::new("/proc/config.gz");
    let zcat = program("zcat").filter(|_| packed.exists())?;
    let run = run(&zcat, &["/proc/config.gz"], Duration::from_secs(10)).ok()?;
    run.success.then_some(run.output)
}

/// The capabilities that this process could have at most: bits of `CapBnd`.
pub fn bounding_capabilities() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::hostile_text;
    use proptest::prelude::*;

    #[test]
    fn the_longest_mount_point_decides() {
        let mounts = "/dev/vda / ext4 rw 0 0\nsrv:/s /shared nfs4 rw 0 0\ntmpfs /shared\\040x tmpfs rw 0 0\n\
                      none /shared/a overlay rw 0 0\nlast /shared/a lustre rw 0 0\n";
        let of = |path: &str| file_system(mounts, Path::new(path)).unwrap();
        assert_eq!(of("/sharedness"), "ext4");
        assert_eq!(of("/shared/stasis"), "nfs4");
        assert_eq!(of("/shared x/y"), "tmpfs");
        assert_eq!(of("/shared/a/b"), "lustre");
    }

    #[test]
    fn programs_are_run_and_ended() {
        let shell = Path::new("/bin/sh");
        let ran = run(shell, &["-c", "echo out; echo err >&2; exit 3"], Duration::from_secs(10)).unwrap();
        assert_eq!(ran, Run { success: false, output: "out\n".into(), errors: "err\n".into() });
        let late = run(Path::new("/bin/sleep"), &["30"], Duration::from_millis(50)).unwrap_err();
        assert!(late.contains("did not end"), "{late}");
        assert!(run(Path::new("/nowhere"), &[], Duration::from_secs(1)).unwrap_err().contains("/nowhere"));
    }

    #[test]
    fn entries_tell_what_is_missing() {
        assert_eq!(entry(Path::new("/nowhere/at/all")).meta, Err(Unseen::Missing));
        assert_eq!(entry(Path::new("/dev/null")).meta.unwrap().kind, Kind::Device);
        let folder = folder(Path::new("/proc/nowhere"));
        assert_eq!(folder.file_system.as_deref(), Some("proc"));
        assert!(folder.unwritable.is_some());
    }

    #[test]
    fn this_program_is_no_plugin() {
        let own = std::env::current_exe().unwrap();
        assert!(plugin_version(&own).unwrap_err().contains("plugin_version"));
        assert!(plugin_version(Path::new("/nowhere")).is_err());
    }

    proptest! {
        #[test]
        fn no_file_panics(bytes in proptest::collection::vec(any::<u8>(), 0..256), mounts in hostile_text()) {
            version_symbol(&bytes);
            let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
            elf.extend(bytes);
            version_symbol(&elf);
            file_system(&mounts, Path::new("/a/b"));
        }
    }
}
