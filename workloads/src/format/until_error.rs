//! How all readers end: with the file, or with their first error, as what follows one may mean anything.

use crate::error::TraceError;

/// The next record by `read`, unless `done` says that the reader has ended, which is noted there.
pub fn until_error<R, T>(
    reader: &mut R,
    done: impl Fn(&mut R) -> &mut bool,
    read: impl FnOnce(&mut R) -> Result<Option<T>, TraceError>,
) -> Option<Result<T, TraceError>> {
    if *done(reader) {
        return None;
    }
    let record = read(reader).transpose();
    *done(reader) = !matches!(record, Some(Ok(_)));
    record
}
