//! Feeding CRIU with an image's files while it restores: each byte is authenticated before CRIU sees it, and none
//! lies on the node's disk.

use crate::bundle::{self, Files};
use anyhow::Context;
use stasis_capsule::open_files;
use stasis_capsule::stream::{self, FEED_NOW_BYTES, Feed};
use stasis_image::{Refusal, VerifiedManifest};
use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// An image that CRIU asks for files.
pub struct Feeder {
    image: Arc<VerifiedManifest>,
    small: Files,
    failure: Arc<Mutex<Option<anyhow::Error>>>,
}

impl Feeder {
    /// Feeds from this image.
    ///
    /// # Errors
    /// When its small files are not as they were written.
    pub fn new(image: &Arc<VerifiedManifest>) -> anyhow::Result<Self> {
        let read = |name: &str| -> anyhow::Result<Vec<u8>> {
            let mut content = Vec::new();
            image.reader(name)?.read_to_end(&mut content)?;
            Ok(content)
        };
        let malformed = |name: &str| Refusal::Malformed(format!("{name} is not as Stasis or CRIU makes it"));
        let mut small = bundle::split(&read(bundle::NAME)?).ok_or_else(|| malformed(bundle::NAME))?;
        let files = small.remove(open_files::FILES).map_or_else(|| read(open_files::FILES), Ok)?;
        let files = open_files::without_sizes(&files).ok_or_else(|| malformed(open_files::FILES))?;
        small.insert(open_files::FILES.into(), files);
        Ok(Self { image: Arc::clone(image), small, failure: Arc::default() })
    }

    /// What fills the pipe of a file, if the image has such a file.
    pub fn feed(&self, name: &str) -> Option<Feed> {
        if let Some(content) = self.small.get(name).cloned() {
            return Some(if content.len() <= FEED_NOW_BYTES {
                Feed::Now(content)
            } else {
                self.later(move |mut pipe| Ok(pipe.write_all(&content)?))
            });
        }
        self.image.entry(name).ok()?;
        let (image, name) = (Arc::clone(&self.image), name.to_owned());
        Some(self.later(move |pipe| {
            stream::widen(pipe);
            image.reader(&name)?.pour_into(pipe).with_context(|| format!("cannot feed {name} to CRIU"))
        }))
    }

    fn later(&self, pour: impl FnOnce(&File) -> anyhow::Result<()> + Send + 'static) -> Feed {
        let failure = Arc::clone(&self.failure);
        Feed::Later(Box::new(move |pipe| {
            // Said before the pipe closes, which is what CRIU fails of.
            if let Err(error) = pour(&pipe)
                && !is_enough(&error)
            {
                failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        }))
    }

    /// Why a file did not reach its end, if one did not.
    ///
    /// # Errors
    /// That.
    pub fn finish(self) -> anyhow::Result<()> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }
}

/// Whether CRIU closed the pipe, having had enough of the file.
fn is_enough(error: &anyhow::Error) -> bool {
    error.downcast_ref().is_some_and(|error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe)
}
