//! What the node is like, gathered once; the checks then only look at these values.

use super::probe::{self, Entry, Folder};
use crate::keygen;
use crate::site::{self, Found};
use stasis_contract::SiteConfig;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long one program may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Features of the kernel that CRIU can tell about.
const FEATURES: [&str; 5] = ["timens", "uffd", "uffd-noncoop", "pagemap_scan", "mem_dirty_track"];
/// Where Slurm's plugins are on most machines, when slurmctld does not say.
const PLUGIN_FOLDERS: &str = "/usr/lib/x86_64-linux-gnu/slurm-wlm:/usr/lib64/slurm:/usr/lib/slurm:\
                              /usr/local/lib/slurm:/opt/slurm/lib/slurm";

/// What the node is like.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeFacts {
    /// Its name.
    pub name: String,
    /// Whether root looks.
    pub root: bool,
    /// The configuration, or what is wrong with it.
    pub config: Result<Found, String>,
    /// Where a plugstack.conf was looked for.
    pub looked: Vec<PathBuf>,
    /// The plugin, if plugstack.conf names one.
    pub plugin: Option<Plugin>,
    /// The programs in libexec.
    pub programs: Vec<Entry>,
    /// The key file.
    pub key: Entry,
    /// The key's fingerprint or what is wrong with it; `None` where this user may not read it.
    pub fingerprint: Option<Result<String, String>>,
    /// The store.
    pub store: Folder,
    /// The folder for what lives as long as a job.
    pub state: Folder,
    /// CRIU.
    pub criu: Criu,
    /// pasta.
    pub pasta: Program,
    /// Where the program is that packs private folders.
    pub tar: Option<PathBuf>,
    /// /dev/net/tun
    pub tun: Entry,
    /// Kernel release.
    pub kernel: String,
    /// The kernel's configuration.
    pub kernel_config: Option<String>,
    /// Bits of the capabilities that processes can have at most.
    pub capabilities: Option<u64>,
}

/// The plugin's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugin {
    /// The file.
    pub entry: Entry,
    /// The Slurm version that it was built for, as slurm.h numbers it.
    pub built_for: Result<u32, String>,
    /// The version of the Slurm that is here.
    pub here: Option<u32>,
}

/// A program and what it says of its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The file.
    pub entry: Entry,
    /// First line of what `--version` prints.
    pub version: Result<String, String>,
}

/// CRIU, and what it thinks of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Criu {
    /// The program.
    pub program: Program,
    /// What `criu check` complains of; `None` where this user cannot run it.
    pub check: Option<Result<(), String>>,
    /// Features of the kernel, and whether they are there.
    pub features: Vec<(&'static str, bool)>,
}

/// Gathers the facts. `plugin_dir` is what slurmctld says, if it answers.
pub fn gather(config: Option<&Path>, store: Option<&Path>, plugin_dir: Option<&str>) -> NodeFacts {
    let found = site::find(config).map_err(|error| error.to_string());
    let default = SiteConfig::default();
    let site = found.as_ref().map_or(&default, |found| &found.config);
    let root = nix::unistd::geteuid().is_root();
    let kernel = probe_kernel();
    NodeFacts {
        name: nix::unistd::gethostname().map_or_else(|_| "?".into(), |name| name.to_string_lossy().into()),
        root,
        looked: site::places(),
        plugin: found
            .as_ref()
            .ok()
            .and_then(|found| found.plugin.as_deref())
            .map(|path| plugin(path, plugin_dir)),
        programs: ["stasis-shepherd", "stasis-capsule", "stasis-reaper"]
            .map(|name| probe::entry(&site.libexec.join(name)))
            .into(),
        key: probe::entry(&site.key),
        fingerprint: root.then(|| keygen::fingerprint(&site.key).map_err(|error| error.to_string())),
        store: probe::folder(store.unwrap_or(&site.store)),
        state: probe::folder(&site.state),
        criu: criu(&site.criu, root),
        pasta: program(&site.pasta),
        tar: probe::program("tar"),
        tun: probe::entry(Path::new("/dev/net/tun")),
        kernel_config: probe::kernel_config(&kernel),
        kernel,
        capabilities: probe::bounding_capabilities(),
        config: found,
    }
}

fn probe_kernel() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

fn plugin(path: &Path, plugin_dir: Option<&str>) -> Plugin {
    let mut folders =
        plugin_dir.unwrap_or(PLUGIN_FOLDERS).split(':').map(|folder| Path::new(folder).join(path));
    let first = folders.clone().next().unwrap_or_else(|| path.into());
    let file = folders.find(|file| file.exists()).unwrap_or(first);
    // Ours may be anywhere; Slurm's own are in its folder.
    let beside = |folder: &str| probe::neighbours_version(&Path::new(folder).join("spank_stasis.so"));
    let here = plugin_dir.unwrap_or(PLUGIN_FOLDERS).split(':').find_map(beside);
    Plugin { entry: probe::entry(&file), built_for: probe::plugin_version(&file), here }
}

fn program(path: &Path) -> Program {
    let version = probe::run(path, &["--version"], PATIENCE).and_then(|run| {
        let first = run.output.lines().next().unwrap_or_default().to_owned();
        // pasta says nothing into a pipe: it ends without writing out what it has buffered.
        if run.success { Ok(first) } else { Err(format!("{} --version fails", path.display())) }
    });
    Program { entry: probe::entry(path), version }
}

fn criu(path: &Path, root: bool) -> Criu {
    let program = program(path);
    let ask = |arguments: &[&str]| probe::run(path, arguments, PATIENCE);
    let runs = root && program.version.is_ok();
    let check = runs.then(|| match ask(&["check"]) {
        Ok(run) if run.success => Ok(()),
        Ok(run) => Err(complaint(&run.errors)),
        Err(error) => Err(error),
    });
    let has = |feature| ask(&["check", "--feature", feature]).is_ok_and(|run| run.success);
    let features = if runs { FEATURES.map(|feature| (feature, has(feature))).into() } else { Vec::new() };
    Criu { program, check, features }
}

/// The first error that CRIU prints is most often the cause.
fn complaint(errors: &str) -> String {
    let line = errors.lines().find(|line| line.contains("Error")).or_else(|| errors.lines().last());
    line.unwrap_or("it gave no reason").trim().to_owned()
}

#[cfg(test)]
impl NodeFacts {
    /// A node where everything is as it should be, seen by root.
    pub fn healthy() -> Self {
        use probe::{Kind, Meta};
        let entry =
            |path: &str, mode, kind| Entry { path: path.into(), meta: Ok(Meta { uid: 0, mode, kind }) };
        let folder = |path: &str, mode, file_system: &str| Folder {
            entry: entry(path, mode, Kind::Folder),
            file_system: Some(file_system.into()),
            free_bytes: Some(1 << 40),
            unwritable: None,
        };
        let program = |path: &str, version: &str| Program {
            entry: entry(path, 0o755, Kind::File),
            version: Ok(version.into()),
        };
        let source =
            site::Source::Plugstack { file: "/etc/slurm/plugstack.conf".into(), line: 1, config: None };
        Self {
            name: "n1".into(),
            root: true,
            config: Ok(Found {
                config: SiteConfig::default(),
                source,
                plugin: Some("spank_stasis.so".into()),
            }),
            looked: vec!["/etc/slurm/plugstack.conf".into()],
            plugin: Some(Plugin {
                entry: entry("/usr/lib/slurm/spank_stasis.so", 0o755, Kind::File),
                built_for: Ok(0x18_0b_05),
                here: Some(0x18_0b_05),
            }),
            programs: ["stasis-shepherd", "stasis-capsule", "stasis-reaper"]
                .map(|name| entry(&format!("/usr/libexec/stasis/{name}"), 0o755, Kind::File))
                .into(),
            key: entry("/etc/stasis/key", 0o400, Kind::File),
            fingerprint: Some(Ok("0123456789ab".into())),
            store: folder("/shared/stasis", 0o1777, "nfs4"),
            state: folder("/run/stasis", 0o700, "tmpfs"),
            criu: Criu {
                program: program("/usr/sbin/criu", "Version: 4.2.1"),
                check: Some(Ok(())),
                features: FEATURES.map(|feature| (feature, true)).into(),
            },
            pasta: program("/usr/bin/pasta", "pasta 0.0~git20250503"),
            tar: Some("/usr/bin/tar".into()),
            tun: entry("/dev/net/tun", 0o666, Kind::Device),
            kernel: "6.18.0-1-amd64".into(),
            kernel_config: Some("CONFIG_INET_DIAG=y\nCONFIG_INET_DIAG_DESTROY=y\n".into()),
            capabilities: Some(u64::MAX >> 23),
        }
    }
}
