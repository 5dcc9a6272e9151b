//! The threads that compress, authenticate and write the chunks of an image being made.
//!
//! Several files share one pool. Chunks are taken in the order in which they came, so each file's chunks can
//! be laid out one after the other as soon as those before them are compressed; the writing itself then needs
//! no order. A permit travels with each chunk until its bytes are written, which bounds memory. The threads
//! act as the user all their life, so that the user's quota and file size limits hold.

use crate::chunk::CHUNK_BYTES;
use crate::codec::Encoder;
use crate::credentials::{User, assert_not_worn};
use crate::error::StoreError;
use crate::flush::Flusher;
use crate::pace::Pace;
use crate::sink::Sink;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Most threads of one pool.
const THREADS_MAX: usize = 16;

/// So many chunks may at least be under way: what comes from CRIU waits for nobody, and the session is frozen no longer.
const IN_FLIGHT_MIN: usize = 64;

/// How many threads work on chunks: one per core that this process may use.
pub(crate) fn thread_count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX)
}

/// Locks, also after a panic elsewhere: what the locks here guard is whole between any two statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits, also after a panic elsewhere.
pub(crate) fn wait<'a, T>(condition: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condition.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

/// A chunk on its way to the store.
pub(crate) struct Task {
    pub(crate) sink: Arc<Sink>,
    pub(crate) index: u64,
    pub(crate) last: bool,
    /// A buffer of [`CHUNK_BYTES`], of which `length` bytes are the content.
    pub(crate) content: Vec<u8>,
    pub(crate) length: usize,
}

/// The right to have one chunk in memory.
pub(crate) struct Permit(Arc<Shared>);

impl Drop for Permit {
    fn drop(&mut self) {
        lock(&self.0.state).in_flight -= 1;
        self.0.room.notify_one();
    }
}

/// What the threads and the writers share.
pub(crate) struct Shared {
    state: Mutex<State>,
    work: Condvar,
    room: Condvar,
    spare: Mutex<Vec<Vec<u8>>>,
    /// How fast the threads and the storage are.
    pub(crate) pace: Arc<Mutex<Pace>>,
    /// Brings to the storage what they write.
    pub(crate) flusher: Flusher,
    in_flight_max: usize,
}

#[derive(Default)]
struct State {
    queue: VecDeque<(Task, Permit)>,
    in_flight: usize,
    closed: bool,
}

/// The threads; they end when this is dropped.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts the threads, each acting as `user`.
    pub(crate) fn start(user: &User) -> io::Result<Self> {
        assert_not_worn();
        let count = thread_count();
        let pace = Arc::new(Mutex::new(Pace::new(count)));
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            work: Condvar::new(),
            room: Condvar::new(),
            spare: Mutex::default(),
            flusher: Flusher::start(Arc::clone(&pace))?,
            pace,
            in_flight_max: (4 * count + 8).max(IN_FLIGHT_MIN),
        });
        let mut pool = Self { shared, threads: Vec::with_capacity(count) };
        for _ in 0..count {
            let (shared, user) = (Arc::clone(&pool.shared), user.clone());
            let builder = std::thread::Builder::new().name("stasis-image".into());
            pool.threads.push(builder.spawn(move || work(&shared, &user))?);
        }
        Ok(pool)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        lock(&self.shared.state).closed = true;
        self.shared.work.notify_all();
        self.shared.room.notify_all();
        for thread in self.threads.drain(..) {
            // A panic was already told to the file whose chunk it was.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// A buffer of [`CHUNK_BYTES`] with any content.
    pub(crate) fn buffer(&self) -> Vec<u8> {
        lock(&self.spare).pop().unwrap_or_else(|| vec![0; CHUNK_BYTES])
    }

    /// Gives a buffer back.
    pub(crate) fn recycle(&self, buffer: Vec<u8>) {
        let mut spare = lock(&self.spare);
        if buffer.len() == CHUNK_BYTES && spare.len() < self.in_flight_max {
            spare.push(buffer);
        }
    }

    /// Hands a chunk to the threads; waits while too many are under way.
    pub(crate) fn submit(self: &Arc<Self>, task: Task) {
        let mut state = lock(&self.state);
        while state.in_flight >= self.in_flight_max && !state.closed {
            state = wait(&self.room, state);
        }
        if state.closed {
            drop(state);
            return task.sink.abandon();
        }
        state.in_flight += 1;
        state.queue.push_back((task, Permit(Arc::clone(self))));
        drop(state);
        self.work.notify_one();
    }

    fn next(&self) -> Option<(Task, Permit)> {
        let mut state = lock(&self.state);
        loop {
            if let Some(next) = state.queue.pop_front() {
                return Some(next);
            }
            if state.closed {
                return None;
            }
            state = wait(&self.work, state);
        }
    }
}

/// The life of one thread.
fn work(shared: &Arc<Shared>, user: &User) {
    let worn = user.wear();
    let mut encoder = Encoder::new();
    while let Some((task, permit)) = shared.next() {
        match &worn {
            Ok(_) => Arc::clone(&task.sink).process(task, Some(permit), &mut encoder, shared),
            Err(error) => {
                let source = io::Error::other(error.to_string());
                task.sink.fail(StoreError::Io { verb: "write", path: task.sink.path().into(), source });
            }
        }
    }
}
