//! Destroying connections to the outside, through sock_diag(7).
//!
//! A restored connection to a browser or another machine looks alive until the first packet sent in it is
//! answered by a reset, and by then output has been lost in it. Destroyed, it fails at once, and the server keeps
//! its output until the browser is back. That has to be *before* the freeze of a session that leaves: were the end
//! of the connection and a kernel's message both news at the resume, a server might take the message first, and
//! write it into the void. What connects after that is destroyed before the restored tasks run. Loopback
//! connections stay: both of their ends are in the image.

use crate::hush::{Hushed, settle};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, connect, recv, send, socket,
};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
const TCP_LISTEN: u32 = 10;
const TCP_TIME_WAIT: u32 = 6;
const HEADER_BYTES: usize = 16;
/// struct inet_diag_sockid.
const SOCKID_BYTES: usize = 48;
/// Offset of the sockid in struct inet_diag_msg.
const MSG_SOCKID: usize = 4;
/// Offset of the bytes that were sent and not yet acknowledged.
const MSG_WQUEUE: usize = 60;
/// Offset of the socket's inode.
const MSG_INODE: usize = 68;
/// How long what was sent may take to arrive before a connection is destroyed.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(100);
/// How long the session may take to notice that its connections are gone. A server whose event loop is blocked for
/// longer notices after the move, and may lose a message.
const NOTICE_TIMEOUT: Duration = Duration::from_millis(300);
/// How long the holders of connections may take to deal with what they have been given.
const SETTLE_TIMEOUT: Duration = Duration::from_millis(200);
/// How often it is looked whether that has happened.
const PAUSE: Duration = Duration::from_millis(2);

/// One connection as the kernel names it.
struct Connection {
    family: u8,
    sockid: [u8; SOCKID_BYTES],
    unsent_bytes: u32,
    inode: u32,
}

impl Connection {
    fn address(&self, offset: usize) -> IpAddr {
        let bytes = &self.sockid[offset..];
        if i32::from(self.family) == libc::AF_INET {
            IpAddr::from(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]))
        } else {
            let mut octets = [0; 16];
            octets.copy_from_slice(&bytes[..16]);
            IpAddr::from(Ipv6Addr::from(octets)).to_canonical()
        }
    }

    fn stays_inside(&self) -> bool {
        let (source, destination) = (self.address(4), self.address(20));
        destination.is_loopback() || source == destination
    }
}

/// Ends every TCP connection of this network namespace that leaves it, with what was sent delivered and the end
/// noticed by whoever holds it, as far as that comes to pass within a moment.
///
/// # Errors
/// When the kernel refuses (CONFIG_INET_DIAG_DESTROY is needed).
pub(crate) fn hang_up() -> io::Result<()> {
    let socket = open()?;
    let inodes: BTreeSet<String> =
        outside(&socket)?.iter().map(|connection| format!("socket:[{}]", connection.inode)).collect();
    let holders = holders(&inodes);
    if holders.is_empty() {
        return Ok(());
    }
    let _held = Hushed::all_but(&holders);
    settle(&holders, SETTLE_TIMEOUT);
    wait_until(DRAIN_TIMEOUT, || {
        Ok(outside(&socket)?.iter().all(|connection| connection.unsent_bytes == 0))
    })?;
    destroy_outside_connections()?;
    wait_until(NOTICE_TIMEOUT, || Ok(self::holders(&inodes).is_empty()))?;
    settle(&holders, SETTLE_TIMEOUT);
    Ok(())
}

fn wait_until(timeout: Duration, mut done: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
    let deadline = Instant::now() + timeout;
    while !done()? && Instant::now() < deadline {
        sleep(PAUSE);
    }
    Ok(())
}

/// The processes of this pid namespace that have one of these sockets open, by their names in proc(5).
fn holders(sockets: &BTreeSet<String>) -> BTreeSet<i32> {
    let holds = |folder: PathBuf| {
        let descriptors = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut targets = descriptors.filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
        targets.any(|target| target.to_str().is_some_and(|target| sockets.contains(target)))
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())));
    pids.filter(|(_, folder)| holds(folder.join("fd"))).map(|(pid, _)| pid).collect()
}

fn open() -> io::Result<OwnedFd> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )?;
    connect(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    Ok(socket)
}

fn outside(socket: &OwnedFd) -> io::Result<Vec<Connection>> {
    let mut all = list(socket, libc::AF_INET as u8)?;
    all.extend(list(socket, libc::AF_INET6 as u8)?);
    all.retain(|connection| !connection.stays_inside());
    Ok(all)
}

/// Destroys every TCP connection of this network namespace that leaves it. Returns how many.
///
/// # Errors
/// When the kernel refuses (CONFIG_INET_DIAG_DESTROY is needed).
pub(crate) fn destroy_outside_connections() -> io::Result<usize> {
    let socket = open()?;
    let mut destroyed = 0;
    for connection in outside(&socket)? {
        destroyed += usize::from(destroy(&socket, &connection)?);
    }
    Ok(destroyed)
}

/// A netlink message with a struct inet_diag_req_v2 for TCP.
fn request(kind: u16, flags: i32, family: u8, states: u32, sockid: &[u8; SOCKID_BYTES]) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER_BYTES + 8 + SOCKID_BYTES);
    message.extend(((HEADER_BYTES + 8 + SOCKID_BYTES) as u32).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(((libc::NLM_F_REQUEST | flags) as u16).to_ne_bytes());
    message.extend([0; 8]); // sequence and port: the kernel fills what matters
    message.extend([family, libc::IPPROTO_TCP as u8, 0, 0]);
    message.extend(states.to_ne_bytes());
    message.extend(sockid);
    message
}

fn list(socket: &OwnedFd, family: u8) -> io::Result<Vec<Connection>> {
    let states = !((1 << TCP_LISTEN) | (1 << TCP_TIME_WAIT));
    let question = request(SOCK_DIAG_BY_FAMILY, libc::NLM_F_DUMP, family, states, &[0; SOCKID_BYTES]);
    send(socket.as_raw_fd(), &question, MsgFlags::empty())?;
    let mut connections = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        for (kind, body) in messages(&buffer[..length]) {
            match i32::from(kind) {
                libc::NLMSG_DONE => return Ok(connections),
                libc::NLMSG_ERROR => return Err(error_of(body)),
                _ => connections.extend(connection(body)),
            }
        }
    }
}

fn connection(body: &[u8]) -> Option<Connection> {
    let sockid = body.get(MSG_SOCKID..MSG_SOCKID + SOCKID_BYTES)?.try_into().ok()?;
    let number = |at: usize| Some(u32::from_ne_bytes(body.get(at..at + 4)?.try_into().ok()?));
    Some(Connection { family: body[0], sockid, unsent_bytes: number(MSG_WQUEUE)?, inode: number(MSG_INODE)? })
}

/// Returns false when the connection had ended by itself.
fn destroy(socket: &OwnedFd, connection: &Connection) -> io::Result<bool> {
    let order = request(SOCK_DESTROY, libc::NLM_F_ACK, connection.family, u32::MAX, &connection.sockid);
    send(socket.as_raw_fd(), &order, MsgFlags::empty())?;
    let mut buffer = vec![0; 4 << 10];
    let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
    let Some((_, body)) = messages(&buffer[..length]).next() else { return Ok(true) };
    let error = error_of(body);
    match error.raw_os_error() {
        Some(0) => Ok(true),
        Some(libc::ENOENT) => Ok(false),
        _ => Err(error),
    }
}

fn error_of(body: &[u8]) -> io::Error {
    let code = body.get(..4).and_then(|bytes| bytes.try_into().ok()).map_or(libc::EPROTO, i32::from_ne_bytes);
    io::Error::from_raw_os_error(code.saturating_neg())
}

/// The messages in a datagram: type and body of each.
fn messages(mut datagram: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(datagram.get(..4)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(datagram.get(4..6)?.try_into().ok()?);
        let body = datagram.get(HEADER_BYTES..length)?;
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    })
}
