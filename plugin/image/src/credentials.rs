//! Acting as the job's user, on one thread only and never longer than a guard lives.
//!
//! The store may be on NFS that squashes root, and everything in it is hostile: a path is therefore only
//! ever walked with the user's own rights. The kernel keeps credentials per thread, while glibc's wrappers
//! change the whole process, so the calls here are the raw ones. Every operation on a path of the store
//! asks for a [`Worn`], which only [`User::wear`] makes: forgetting to become the user does not compile.
//!
//! A process that is not root (the command line) already is who it is, and the guard does nothing.
//! This file must not touch the file system.

use nix::unistd::{Gid, Uid, geteuid, getgroups, setfsgid, setfsuid};
use std::cell::RefCell;
use std::io;
use std::marker::PhantomData;
use thiserror::Error;

/// Why a thread could not become the user.
#[derive(Debug, Error)]
pub enum CredentialError {
    /// A system call was refused.
    #[error("cannot act as uid {uid}: {call}: {source}; root needs CAP_SETUID and CAP_SETGID for this")]
    Refused {
        /// Who the thread was to become.
        uid: u32,
        /// Which call was refused.
        call: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The calls succeeded and changed nothing.
    #[error(
        "cannot act as uid {uid}: the kernel kept other credentials; root needs CAP_SETUID and CAP_SETGID"
    )]
    NotTaken {
        /// Who the thread was to become.
        uid: u32,
    },
    /// The thread already acts as somebody else.
    #[error("cannot act as uid {uid}: this thread already acts as uid {worn}")]
    Nested {
        /// Who the thread was to become.
        uid: u32,
        /// Who it acts as.
        worn: u32,
    },
}

/// On whose behalf the store is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary group ids.
    pub groups: Vec<u32>,
}

thread_local! {
    /// Who this thread acts as, if a guard lives.
    static WORN: RefCell<Option<User>> = const { RefCell::new(None) };
}

/// Proof that the calling thread acts as `user()` for as long as this lives.
#[derive(Debug)]
pub(crate) struct Worn<'u> {
    user: &'u User,
    saved: Option<Saved>,
    /// Credentials belong to the thread that took them.
    not_send: PhantomData<*const ()>,
}

/// What the thread was before.
#[derive(Debug)]
struct Saved {
    groups: Vec<Gid>,
    fsgid: Gid,
    fsuid: Uid,
    capabilities: Capabilities,
}

impl User {
    /// Makes the calling thread act as this user towards file systems until the guard is dropped. Without
    /// effect when the process is not root, or when the thread acts as this user already.
    pub(crate) fn wear(&self) -> Result<Worn<'_>, CredentialError> {
        let worn = Worn { user: self, saved: None, not_send: PhantomData };
        if !geteuid().is_root() {
            return Ok(worn);
        }
        let nested = WORN.with_borrow(|now| match now {
            Some(user) if user == self => Some(Ok(())),
            Some(user) => Some(Err(CredentialError::Nested { uid: self.uid, worn: user.uid })),
            None => None,
        });
        if let Some(nested) = nested {
            return nested.map(|()| worn);
        }
        let saved = Saved::of_this_thread().map_err(|(call, source)| self.refused(call, source))?;
        // From here on the guard restores, also when a call below fails half-way.
        let worn = Worn { saved: Some(saved), ..worn };
        self.take()?;
        WORN.set(Some(self.clone()));
        Ok(worn)
    }

    fn take(&self) -> Result<(), CredentialError> {
        let groups: Vec<Gid> = self.groups.iter().copied().map(Gid::from_raw).collect();
        set_thread_groups(&groups).map_err(|source| self.refused("setgroups", source))?;
        setfsgid(Gid::from_raw(self.gid));
        setfsuid(Uid::from_raw(self.uid));
        // Without CAP_SYS_RESOURCE and its kin quotas and reserved blocks hold for root as for the user.
        let none =
            Capabilities { effective: [0; 2], ..Capabilities::get().map_err(|e| self.refused("capget", e))? };
        none.set().map_err(|source| self.refused("capset", source))?;
        let (fsuid, fsgid) = filesystem_ids();
        let mut have = getgroups().map_err(|errno| self.refused("getgroups", errno.into()))?;
        let mut want = groups;
        for list in [&mut have, &mut want] {
            list.sort_unstable_by_key(|gid| gid.as_raw());
        }
        if fsuid.as_raw() != self.uid || fsgid.as_raw() != self.gid || have != want {
            return Err(CredentialError::NotTaken { uid: self.uid });
        }
        Ok(())
    }

    fn refused(&self, call: &'static str, source: io::Error) -> CredentialError {
        CredentialError::Refused { uid: self.uid, call, source }
    }
}

impl Worn<'_> {
    /// Uid that everything in the user's part of the store must belong to.
    pub(crate) fn uid(&self) -> u32 {
        self.user.uid
    }
}

impl Drop for Worn<'_> {
    fn drop(&mut self) {
        let Some(saved) = self.saved.take() else { return };
        WORN.set(None);
        if saved.restore().is_err() {
            // A root process that cannot come back to itself must not go on as somebody else.
            eprintln!("stasis-image: cannot restore this thread's credentials: aborting");
            std::process::abort();
        }
    }
}

impl Saved {
    fn of_this_thread() -> Result<Self, (&'static str, io::Error)> {
        let groups = getgroups().map_err(|errno| ("getgroups", errno.into()))?;
        let (fsuid, fsgid) = filesystem_ids();
        let capabilities = Capabilities::get().map_err(|error| ("capget", error))?;
        Ok(Self { groups, fsgid, fsuid, capabilities })
    }

    fn restore(&self) -> io::Result<()> {
        // Capabilities first, since the calls after need them, and last, since setfsuid changes them too.
        self.capabilities.set()?;
        setfsuid(self.fsuid);
        setfsgid(self.fsgid);
        // Where root may not set groups they were not changed either, and that is no reason to abort.
        if getgroups()? != self.groups {
            set_thread_groups(&self.groups)?;
        }
        self.capabilities.set()?;
        if filesystem_ids() != (self.fsuid, self.fsgid) || getgroups()? != self.groups {
            return Err(io::Error::other("credentials differ"));
        }
        Ok(())
    }
}

/// Checks that no guard lives on this thread: a thread started now would keep the user's credentials.
pub(crate) fn assert_not_worn() {
    assert!(WORN.with_borrow(Option::is_none), "no thread may be started while acting as the user");
}

/// The thread's fsuid and fsgid: setting an impossible id changes nothing and returns the present one.
fn filesystem_ids() -> (Uid, Gid) {
    (setfsuid(Uid::from_raw(u32::MAX)), setfsgid(Gid::from_raw(u32::MAX)))
}

/// Sets the supplementary groups of the calling thread alone (glibc's `setgroups` sets those of all).
fn set_thread_groups(groups: &[Gid]) -> io::Result<()> {
    let raw: Vec<libc::gid_t> = groups.iter().map(|gid| gid.as_raw()).collect();
    // SAFETY: the kernel reads `raw.len()` gids from `raw`, which outlives the call.
    let done = unsafe { libc::syscall(libc::SYS_setgroups, raw.len(), raw.as_ptr()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The capability sets of a thread, each as two words.
#[derive(Debug, Clone, Copy)]
struct Capabilities {
    effective: [u32; 2],
    permitted: [u32; 2],
    inheritable: [u32; 2],
}

/// `_LINUX_CAPABILITY_VERSION_3` of linux/capability.h.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

/// `struct __user_cap_header_struct` of linux/capability.h.
#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

impl Capabilities {
    fn get() -> io::Result<Self> {
        let mut header = CapabilityHeader { version: CAPABILITY_VERSION, pid: 0 };
        let mut data = [[0u32; 3]; 2];
        // SAFETY: for this version the kernel reads the header and writes two structs of three words each.
        let done = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) };
        if done != 0 {
            return Err(io::Error::last_os_error());
        }
        let word = |which: usize| [data[0][which], data[1][which]];
        Ok(Self { effective: word(0), permitted: word(1), inheritable: word(2) })
    }

    fn set(&self) -> io::Result<()> {
        let mut header = CapabilityHeader { version: CAPABILITY_VERSION, pid: 0 };
        let data = [0, 1].map(|half| [self.effective[half], self.permitted[half], self.inheritable[half]]);
        // SAFETY: for this version the kernel reads the header and two structs of three words each.
        let done = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}
