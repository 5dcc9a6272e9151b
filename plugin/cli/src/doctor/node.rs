//! What this node needs: the plugin and its programs, the key, the store, CRIU, pasta, and a kernel that can.

use super::facts::{Criu, NodeFacts, Program};
use super::probe::{Entry, Folder, Kind, Meta, Unseen};
use super::{Finding, Findings};
use crate::site::Source;
use stasis_contract::format_bytes;
use std::path::Path;

/// The oldest CRIU that dumps a Jupyter server (4.1 fails on its SO_PASSCRED sockets).
const CRIU_MIN: [u32; 2] = [4, 2];
/// The oldest kernel: close_range(2) with CLOSE_RANGE_CLOEXEC.
const KERNEL_MIN: [u32; 2] = [5, 11];
/// Less free space than this in a store is soon none.
const FREE_BYTES_WARN: u64 = 10 << 30;
/// With less than this not even a small session can be kept.
const FREE_BYTES_FAIL: u64 = 256 << 20;
/// File systems that other nodes see.
const SHARED_FILE_SYSTEMS: [&str; 20] = [
    "nfs",
    "nfs4",
    "lustre",
    "gpfs",
    "beegfs",
    "ceph",
    "cifs",
    "smb3",
    "9p",
    "afs",
    "gfs2",
    "ocfs2",
    "orangefs",
    "pvfs2",
    "panfs",
    "wekafs",
    "glusterfs",
    "fuse.glusterfs",
    "fuse.ceph",
    "fuse.juicefs",
];
/// File systems that no other node sees.
const LOCAL_FILE_SYSTEMS: [&str; 10] =
    ["ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "tmpfs", "ramfs", "overlay"];
/// Capabilities that a root process on the node must be able to have, by number.
const CAPABILITIES: [(u32, &str); 6] = [
    (6, "CAP_SETGID"),
    (7, "CAP_SETUID"),
    (12, "CAP_NET_ADMIN"),
    (19, "CAP_SYS_PTRACE"),
    (21, "CAP_SYS_ADMIN"),
    (1, "CAP_DAC_OVERRIDE"),
];
const CAP_SYS_RESOURCE: u32 = 24;

/// Judges the node.
pub fn judge(facts: &NodeFacts) -> Vec<Finding> {
    let mut out = Findings::of("node");
    configuration(&mut out, facts);
    plugin(&mut out, facts);
    for entry in &facts.programs {
        let found =
            trusted_program(&mut out, "programs", entry, "install Stasis on this node (`make install`)");
        if found {
            out.ok("programs", entry.path.display().to_string());
        }
    }
    key(&mut out, facts);
    store(&mut out, &facts.store, facts.root);
    node_folder(&mut out, "state", &facts.state, facts.root);
    criu(&mut out, &facts.criu, facts.root);
    pasta(&mut out, &facts.pasta, &facts.tun);
    tar(&mut out, facts.tar.as_deref());
    kernel(&mut out, facts);
    capabilities(&mut out, facts);
    out.list
}

fn configuration(out: &mut Findings, facts: &NodeFacts) {
    match &facts.config {
        Err(error) => {
            out.fail("configuration", error, "correct it: the plugin reads it too, and refuses jobs");
        }
        Ok(found) if found.source == Source::Defaults => {
            let looked: Vec<String> = facts.looked.iter().map(|path| path.display().to_string()).collect();
            let line = "required spank_stasis.so store=/path/on/shared/storage";
            out.fail(
                "configuration",
                "no plugstack.conf has a line for spank_stasis.so, so sbatch knows no --stasis",
                format!("add `{line}` to one of {}; if it is elsewhere, set SLURM_CONF", looked.join(", ")),
            );
        }
        Ok(found) => out.ok("configuration", found.source.to_string()),
    }
}

fn plugin(out: &mut Findings, facts: &NodeFacts) {
    let Some(plugin) = &facts.plugin else {
        return out.skip("plugin", "no plugstack.conf names it");
    };
    let path = plugin.entry.path.display();
    let build = "build it on a machine with this Slurm's headers (`make build`), and install it here";
    if !is_there(out, "plugin", &plugin.entry, build) || !is_safe(out, "plugin", &plugin.entry) {
        return;
    }
    let built = match &plugin.built_for {
        Ok(built) => *built,
        Err(error) => return out.fail("plugin", format!("{path} {error}"), build),
    };
    match plugin.here {
        None => out.ok("plugin", format!("{path}, for Slurm {}", version_words(built))),
        Some(here) if built >> 8 == here >> 8 => {
            out.ok("plugin", format!("{path}, for Slurm {} as is here", version_words(built)));
        }
        Some(here) => {
            let (built, here) = (version_words(built), version_words(here));
            let message = format!("{path} is for Slurm {built}, and here is {here}: Slurm does not load it");
            out.fail("plugin", message, build);
        }
    }
}

/// `24.11.5`
fn version_words(version: u32) -> String {
    format!("{}.{:02}.{}", version >> 16 & 0xff, version >> 8 & 0xff, version & 0xff)
}

/// Adds a finding unless the file is there and can be seen.
fn is_there(out: &mut Findings, check: &'static str, entry: &Entry, remedy: &str) -> bool {
    let path = entry.path.display();
    match &entry.meta {
        Ok(_) => return true,
        Err(Unseen::Missing) => out.fail(check, format!("{path} is missing"), remedy),
        Err(Unseen::Hidden) => out.skip(check, format!("only root can see {path}")),
        Err(Unseen::Error(error)) => out.fail(check, format!("cannot look at {path}: {error}"), remedy),
    }
    false
}

/// Adds a finding unless only root can change the file, which root will run.
fn is_safe(out: &mut Findings, check: &'static str, entry: &Entry) -> bool {
    let Ok(meta) = entry.meta else { return false };
    let path = entry.path.display();
    if meta.uid != 0 {
        out.fail(check, format!("{path} belongs to uid {}", meta.uid), format!("chown root {path}"));
    } else if meta.mode & 0o022 != 0 {
        let message = format!("{path} has mode {:04o}: others than root can change it", meta.mode);
        out.fail(check, message, format!("chmod go-w {path}"));
    } else {
        return true;
    }
    false
}

fn trusted_program(out: &mut Findings, check: &'static str, entry: &Entry, remedy: &str) -> bool {
    if !is_there(out, check, entry, remedy) || !is_safe(out, check, entry) {
        return false;
    }
    let runs = entry.meta.as_ref().is_ok_and(|meta| meta.mode & 0o111 == 0o111 && meta.kind == Kind::File);
    if !runs {
        let path = entry.path.display();
        out.fail(check, format!("{path} is no program that can be run"), format!("chmod 0755 {path}"));
    }
    runs
}

fn key(out: &mut Findings, facts: &NodeFacts) {
    let path = facts.key.path.display();
    let make = format!("make one as root with `stasis keygen {path}`, once, and copy it to all nodes");
    match (&facts.fingerprint, &facts.key.meta) {
        (Some(Ok(fingerprint)), _) => {
            out.ok("key", format!("{path}, fingerprint {fingerprint}: must be the same on all nodes"));
        }
        (Some(Err(error)), _) => out.fail("key", error, make),
        (None, Err(Unseen::Missing)) => out.fail("key", format!("{path} is missing"), make),
        (None, Ok(Meta { uid, mode, .. })) if *uid != 0 || mode & !0o600 != 0 => {
            let message = format!("{path} belongs to uid {uid} and has mode {mode:04o}: others can know it");
            out.fail("key", message, "make a new one that only root can read");
        }
        (None, _) => out.skip("key", format!("only root can read {path}")),
    }
}

fn store(out: &mut Findings, store: &Folder, root: bool) {
    let path = store.entry.path.display();
    let make = format!("create it on storage that all nodes share: mkdir -p {path} && chmod 1777 {path}");
    if !is_there(out, "store", &store.entry, &make) {
        return;
    }
    let Ok(meta) = store.entry.meta else { return };
    if meta.kind != Kind::Folder {
        return out.fail("store", format!("{path} is not a folder"), make);
    }
    if let Some(reason) = &store.unwritable {
        let remedy = format!("chmod 1777 {path}, and mount it writable");
        return out.fail("store", format!("{path} cannot be written: {reason}"), remedy);
    }
    match meta.mode {
        mode if mode & 0o1777 == 0o1777 => out.ok("store", format!("{path}, mode 1777")),
        mode if mode & 0o003 == 0o003 => out.fail(
            "store",
            format!("{path} has mode {mode:04o}: users can remove each other's images"),
            format!("chmod 1777 {path}"),
        ),
        // A user's own store, or one of a group's.
        mode if !root => out.ok("store", format!("{path}, mode {mode:04o}, which you can write")),
        mode => out.fail(
            "store",
            format!("{path} has mode {mode:04o}: users cannot keep images there"),
            format!("chmod 1777 {path}"),
        ),
    }
    is_shared(out, store);
    space(out, store);
}

fn is_shared(out: &mut Findings, store: &Folder) {
    let Some(kind) = store.file_system.as_deref() else {
        return out.skip("store is shared", "its file system cannot be told");
    };
    let path = store.entry.path.display();
    if SHARED_FILE_SYSTEMS.contains(&kind) {
        out.ok("store is shared", format!("on {kind}"));
    } else if LOCAL_FILE_SYSTEMS.contains(&kind) {
        out.warn(
            "store is shared",
            format!("{path} is on {kind}, which other nodes do not see unless it is exported to them"),
            "put the store on storage that all nodes share: a session returns where its image can be read",
        );
    } else {
        out.skip("store is shared", format!("on {kind}: make sure that all nodes see it"));
    }
}

fn space(out: &mut Findings, folder: &Folder) {
    let Some(free) = folder.free_bytes else { return };
    let path = folder.entry.path.display();
    let message = format!("{} free for {path}", format_bytes(free));
    let remedy = "remove old images (`stasis rm --all --older-than 30d`), or keep fewer (`keep=` in the configuration)";
    match free {
        ..FREE_BYTES_FAIL => out.fail("free space", message, remedy),
        FREE_BYTES_FAIL..FREE_BYTES_WARN => out.warn("free space", message, remedy),
        _ => out.ok("free space", message),
    }
}

/// The shepherd makes these folders; what is there already must be root's alone.
fn node_folder(out: &mut Findings, check: &'static str, folder: &Folder, root: bool) {
    let path = folder.entry.path.display();
    match &folder.entry.meta {
        Ok(meta) if meta.uid != 0 || meta.kind != Kind::Folder => {
            out.fail(check, format!("{path} is not a folder of root's"), format!("remove {path}"));
        }
        Ok(meta) if meta.mode & 0o022 != 0 => {
            let message = format!("{path} has mode {:04o}: others than root can change it", meta.mode);
            out.fail(check, message, format!("chmod go-w {path}"));
        }
        Ok(_) if root && folder.unwritable.is_some() => {
            let reason = folder.unwritable.as_deref().unwrap_or_default();
            out.fail(check, format!("{path} cannot be written: {reason}"), "mount it writable");
        }
        Ok(_) => out.ok(check, format!("{path}, on {}", folder.file_system.as_deref().unwrap_or("?"))),
        Err(Unseen::Missing) => out.ok(check, format!("{path} is made with the first session")),
        Err(_) => out.skip(check, format!("only root can see {path}")),
    }
}

fn criu(out: &mut Findings, criu: &Criu, root: bool) {
    let install =
        "install CRIU 4.2 or later (Debian 13: from testing), or name it with criu= in the configuration";
    if !trusted_program(out, "criu", &criu.program.entry, install) {
        return;
    }
    let path = criu.program.entry.path.display();
    match criu.program.version.as_deref().map(|text| (text, numbers(text))) {
        Err(error) => out.fail("criu", error, install),
        Ok((text, None)) => out.warn("criu", format!("{path}: version `{text}` cannot be read"), install),
        Ok((_, Some(version))) if version < CRIU_MIN => {
            out.fail(
                "criu",
                format!("{path} is {}.{}: too old to save a Jupyter server", version[0], version[1]),
                install,
            );
        }
        Ok((text, _)) => out.ok("criu", format!("{path}, {}", text.to_lowercase())),
    }
    match &criu.check {
        Some(Ok(())) => out.ok("criu check", "looks good"),
        Some(Err(error)) => {
            out.fail("criu check", error, "run `criu check` as root; the kernel lacks what it names");
        }
        None if root => {}
        None => out.skip("criu check", "only root can run it"),
    }
    features(out, criu);
}

fn features(out: &mut Findings, criu: &Criu) {
    let lacks = |name: &str| criu.features.iter().any(|(feature, has)| *feature == name && !has);
    if criu.features.is_empty() {
        return;
    }
    if lacks("timens") {
        out.warn(
            "kernel features",
            "no time namespaces: monotonic clocks jump when a session returns",
            "use a kernel with CONFIG_TIME_NS",
        );
    }
    let has: Vec<&str> = criu.features.iter().filter(|(_, has)| *has).map(|(feature, _)| *feature).collect();
    let without: Vec<&str> =
        criu.features.iter().filter(|(_, has)| !has).map(|(feature, _)| *feature).collect();
    let without = if without.is_empty() {
        String::new()
    } else {
        format!("; without {}, which nothing needs today", without.join(", "))
    };
    out.ok("kernel features", format!("{}{without}", has.join(", ")));
}

fn pasta(out: &mut Findings, pasta: &Program, tun: &Entry) {
    let install = "install passt (Debian: apt install passt), or name it with pasta= in the configuration";
    if trusted_program(out, "pasta", &pasta.entry, install) {
        match &pasta.version {
            Ok(version) if version.is_empty() => out.ok("pasta", pasta.entry.path.display().to_string()),
            Ok(version) => out.ok("pasta", format!("{}, {version}", pasta.entry.path.display())),
            Err(error) => out.fail("pasta", error, install),
        }
    }
    let path = tun.path.display();
    match &tun.meta {
        Ok(meta) if meta.kind == Kind::Device => out.ok("tun", path.to_string()),
        _ => out.fail(
            "tun",
            format!("{path} is no device: sessions have no network"),
            "modprobe tun, at every boot",
        ),
    }
}

fn tar(out: &mut Findings, path: Option<&Path>) {
    match path {
        Some(path) => out.ok("tar", path.display().to_string()),
        None => out.fail("tar", "tar is missing: a session's /tmp cannot be saved", "install tar"),
    }
}

fn kernel(out: &mut Findings, facts: &NodeFacts) {
    let release = &facts.kernel;
    match numbers(release) {
        Some(version) if version < KERNEL_MIN => out.fail(
            "kernel",
            format!("{release} is too old"),
            format!("use Linux {}.{} or later", KERNEL_MIN[0], KERNEL_MIN[1]),
        ),
        Some(_) => out.ok("kernel", format!("Linux {release}")),
        None => out.skip("kernel", format!("release `{release}` cannot be read")),
    }
    let Some(config) = &facts.kernel_config else {
        return out.skip("kernel: sock_diag", "the kernel's configuration cannot be read");
    };
    let enabled = |name: &str| {
        config.lines().any(|line| line.strip_prefix(name).is_some_and(|rest| rest == "=y" || rest == "=m"))
    };
    if enabled("CONFIG_INET_DIAG_DESTROY") {
        out.ok("kernel: sock_diag", "can destroy connections");
    } else {
        out.warn(
            "kernel: sock_diag",
            "cannot destroy connections: a restored server learns late that the browser is gone, and loses output",
            "use a kernel with CONFIG_INET_DIAG_DESTROY",
        );
    }
}

fn capabilities(out: &mut Findings, facts: &NodeFacts) {
    let Some(bits) = facts.capabilities else {
        return out.skip("capabilities", "cannot be read");
    };
    let lacks = |number: u32| bits >> number & 1 == 0;
    let missing: Vec<&str> =
        CAPABILITIES.iter().filter(|(number, _)| lacks(*number)).map(|(_, name)| *name).collect();
    if !missing.is_empty() {
        let message = format!("root here cannot have {}", missing.join(", "));
        return out.fail("capabilities", message, "run slurmd outside of the container that takes them away");
    }
    let words = if lacks(CAP_SYS_RESOURCE) {
        "all that are needed; without CAP_SYS_RESOURCE, which Stasis works around"
    } else {
        "all that are needed"
    };
    out.ok("capabilities", words);
}

/// The first two numbers in a text: `Version: 4.2.1` is 4 and 2, `6.18.0-amd64` is 6 and 18.
fn numbers(text: &str) -> Option<[u32; 2]> {
    let digits = text.find(|c: char| c.is_ascii_digit())?;
    let mut parts = text[digits..].split(|c: char| !c.is_ascii_digit());
    Some([parts.next()?.parse().ok()?, parts.next()?.parse().ok()?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    fn verdict(change: impl FnOnce(&mut NodeFacts), check: &str) -> (Verdict, String) {
        let mut facts = NodeFacts::healthy();
        change(&mut facts);
        let findings = judge(&facts);
        let worst = findings.iter().filter(|finding| finding.check == check).max_by_key(|finding| {
            [Verdict::Skip, Verdict::Ok, Verdict::Warn, Verdict::Fail]
                .iter()
                .position(|v| *v == finding.verdict)
        });
        let worst = worst.unwrap_or_else(|| panic!("no finding of {check}"));
        let bad = matches!(worst.verdict, Verdict::Warn | Verdict::Fail);
        assert_eq!(bad, worst.remedy.is_some(), "a remedy for what is wrong, and only for that: {worst:?}");
        (worst.verdict, worst.message.clone())
    }

    fn fails(change: impl FnOnce(&mut NodeFacts), check: &str, word: &str) {
        let (found, message) = verdict(change, check);
        assert_eq!(found, Verdict::Fail, "{check}: {message}");
        assert!(message.contains(word), "{message}");
    }

    #[test]
    fn a_healthy_node_has_nothing_to_say() {
        let findings = judge(&NodeFacts::healthy());
        let odd: Vec<&Finding> = findings.iter().filter(|finding| finding.verdict != Verdict::Ok).collect();
        assert!(odd.is_empty(), "{odd:#?}");
        assert!(findings.len() > 15);
    }

    fn meta(entry: &mut Entry) -> &mut Meta {
        entry.meta.as_mut().unwrap()
    }

    #[test]
    fn what_root_runs_must_be_roots() {
        fails(|f| f.programs[0].meta = Err(Unseen::Missing), "programs", "stasis-shepherd is missing");
        fails(|f| meta(&mut f.programs[1]).uid = 1000, "programs", "belongs to uid 1000");
        fails(|f| meta(&mut f.programs[1]).mode = 0o775, "programs", "mode 0775");
        fails(|f| meta(&mut f.programs[1]).mode = 0o644, "programs", "no program");
        fails(|f| meta(&mut f.criu.program.entry).mode = 0o777, "criu", "mode 0777");
        fails(|f| meta(&mut f.pasta.entry).uid = 7, "pasta", "uid 7");
        fails(|f| meta(&mut f.plugin.as_mut().unwrap().entry).uid = 7, "plugin", "uid 7");
    }

    #[test]
    fn a_plugin_for_another_slurm_is_told() {
        let build = |version| move |f: &mut NodeFacts| f.plugin.as_mut().unwrap().built_for = Ok(version);
        fails(build(0x17_0b_05), "plugin", "is for Slurm 23.11.5, and here is 24.11.5");
        fails(build(0x18_05_05), "plugin", "24.05.5");
        assert_eq!(verdict(build(0x18_0b_01), "plugin").0, Verdict::Ok, "another fix of the same release");
        fails(|f| f.plugin.as_mut().unwrap().built_for = Err("has no symbol".into()), "plugin", "no symbol");
    }

    #[test]
    fn the_configuration_must_be_found_and_right() {
        fails(|f| f.config = Err("/etc/p, line 3: unknown field `kepe`".into()), "configuration", "kepe");
        fails(|f| f.config.as_mut().unwrap().source = Source::Defaults, "configuration", "no plugstack.conf");
    }

    #[test]
    fn the_key_is_checked_as_far_as_one_may() {
        fails(|f| f.fingerprint = Some(Err("the key has mode 0644".into())), "key", "0644");
        let user = |f: &mut NodeFacts| f.fingerprint = None;
        assert_eq!(verdict(user, "key").0, Verdict::Skip);
        fails(
            |f| {
                user(f);
                meta(&mut f.key).mode = 0o640;
            },
            "key",
            "mode 0640",
        );
        fails(
            |f| {
                user(f);
                meta(&mut f.key).uid = 1000;
            },
            "key",
            "uid 1000",
        );
        fails(
            |f| {
                user(f);
                f.key.meta = Err(Unseen::Missing);
            },
            "key",
            "missing",
        );
    }

    #[test]
    fn the_store_must_be_open_shared_and_not_full() {
        fails(|f| f.store.entry.meta = Err(Unseen::Missing), "store", "missing");
        fails(|f| f.store.unwritable = Some("read-only file system".into()), "store", "read-only");
        fails(|f| meta(&mut f.store.entry).mode = 0o777, "store", "each other's");
        fails(|f| meta(&mut f.store.entry).mode = 0o755, "store", "cannot keep images");
        let own = |f: &mut NodeFacts| {
            f.root = false;
            meta(&mut f.store.entry).mode = 0o700;
        };
        assert_eq!(verdict(own, "store").0, Verdict::Ok);
        let on = |kind: &'static str| move |f: &mut NodeFacts| f.store.file_system = Some(kind.into());
        assert_eq!(verdict(on("ext4"), "store is shared").0, Verdict::Warn);
        assert_eq!(verdict(on("lustre"), "store is shared").0, Verdict::Ok);
        assert_eq!(verdict(on("fuse.unheard"), "store is shared").0, Verdict::Skip);
        fails(|f| f.store.free_bytes = Some(1 << 20), "free space", "1.0 MiB free");
        assert_eq!(verdict(|f| f.store.free_bytes = Some(1 << 30), "free space").0, Verdict::Warn);
    }

    #[test]
    fn the_nodes_folders_are_roots_or_not_there_yet() {
        assert_eq!(verdict(|f| f.state.entry.meta = Err(Unseen::Missing), "state").0, Verdict::Ok);
        assert_eq!(verdict(|f| f.state.entry.meta = Err(Unseen::Hidden), "state").0, Verdict::Skip);
        fails(|f| meta(&mut f.state.entry).uid = 1000, "state", "root's");
        fails(|f| meta(&mut f.state.entry).mode = 0o777, "state", "0777");
    }

    #[test]
    fn criu_must_be_new_and_content() {
        let version = |text: &'static str| move |f: &mut NodeFacts| f.criu.program.version = Ok(text.into());
        fails(version("Version: 4.1.1"), "criu", "4.1");
        fails(version("Version: 3.17.1"), "criu", "3.17");
        assert_eq!(verdict(version("Version: 4.2"), "criu").0, Verdict::Ok);
        assert_eq!(verdict(version("Version: 10.0"), "criu").0, Verdict::Ok);
        assert_eq!(verdict(version("from git"), "criu").0, Verdict::Warn);
        fails(|f| f.criu.check = Some(Err("Error: no vdso".into())), "criu check", "vdso");
        assert_eq!(
            verdict(
                |f| {
                    f.root = false;
                    f.criu.check = None;
                },
                "criu check"
            )
            .0,
            Verdict::Skip
        );
        assert_eq!(verdict(|f| f.criu.features[0].1 = false, "kernel features").0, Verdict::Warn);
        let (found, message) = verdict(|f| f.criu.features[4].1 = false, "kernel features");
        assert_eq!(found, Verdict::Ok);
        assert!(message.contains("without mem_dirty_track"), "{message}");
    }

    #[test]
    fn network_tar_and_kernel() {
        fails(|f| f.pasta.entry.meta = Err(Unseen::Missing), "pasta", "missing");
        fails(|f| f.tun.meta = Err(Unseen::Missing), "tun", "no device");
        fails(|f| f.tar = None, "tar", "tar is missing");
        fails(|f| f.kernel = "5.10.0-9".into(), "kernel", "too old");
        assert_eq!(verdict(|f| f.kernel = "5.11".into(), "kernel").0, Verdict::Ok);
        let diag = "kernel: sock_diag";
        let off = "# CONFIG_INET_DIAG_DESTROY is not set\n";
        assert_eq!(verdict(|f| f.kernel_config = Some(off.into()), diag).0, Verdict::Warn);
        assert_eq!(verdict(|f| f.kernel_config = None, diag).0, Verdict::Skip);
    }

    #[test]
    fn a_capability_that_is_gone_is_named() {
        fails(|f| f.capabilities = Some(!(1 << 21)), "capabilities", "CAP_SYS_ADMIN");
        let (found, message) = verdict(|f| f.capabilities = Some(!(1 << 24)), "capabilities");
        assert_eq!(found, Verdict::Ok);
        assert!(message.contains("CAP_SYS_RESOURCE"), "{message}");
    }

    #[test]
    fn versions_are_read_out_of_text() {
        assert_eq!(numbers("Version: 4.2.1"), Some([4, 2]));
        assert_eq!(numbers("6.18.0-rc1+"), Some([6, 18]));
        for text in ["", "x", "4", "99999999999.1"] {
            assert_eq!(numbers(text), None, "{text}");
        }
    }
}
