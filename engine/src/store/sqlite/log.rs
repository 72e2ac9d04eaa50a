//! The write-ahead log that an earlier owner left, made durable for certain.
//!
//! After a failed fsync the system may keep pages readable that are not on the disk, and a later fsync does not notice. An
//! owner that sees one fail writes nothing behind it, but may be killed before it has put things right. So only the last
//! commit of a log can be such; its bytes are written once more before anything is built on it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Above this length readers are held off until the log is back in the database (semantics.md D2), and an opening does not
/// wait until it is.
pub(super) const LONG: u64 = 32 << 20;

/// Lengths in the format of the file (sqlite.org/fileformat2.html#walformat).
const HEADER: u64 = 32;
const FRAME_HEADER: usize = 24;

/// Bytes that are copied at the same time.
const CHUNK: usize = 1 << 20;

/// Writes the last commit of the log once more, and waits until it is on the disk.
pub(super) fn renew_last_commit(path: &Path) -> io::Result<()> {
    let file = match File::options().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let Some((mut at, end)) = last_commit(&file)? else { return Ok(()) };
    let mut chunk = vec![0; CHUNK];
    while at < end {
        let length = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
        read_at(&file, at, &mut chunk[..length])?;
        (&file).seek(SeekFrom::Start(at))?;
        (&file).write_all(&chunk[..length])?;
        at += length as u64;
    }
    file.sync_all()
}

/// Where the last commit begins and ends; none where the log has none.
fn last_commit(file: &File) -> io::Result<Option<(u64, u64)>> {
    let length = file.metadata()?.len();
    if length < HEADER {
        return Ok(None);
    }
    let mut header = [0; HEADER as usize];
    read_at(file, 0, &mut header)?;
    let page = u32::from_be_bytes([header[8], header[9], header[10], header[11]]);
    let log = Log { file, salts: &header[16..24], frame: FRAME_HEADER as u64 + u64::from(page) };
    let frames = log.frames((length - HEADER) / log.frame)?;
    let Some(last) = log.commit_before(frames)? else { return Ok(None) };
    let begin = match log.commit_before(last)? {
        Some(before) => log.offset(before + 1),
        // The log's own header was written with its first commit.
        None => 0,
    };
    Ok(Some((begin, log.offset(last + 1))))
}

fn read_at(mut file: &File, at: u64, bytes: &mut [u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(bytes)
}

struct Log<'f> {
    file: &'f File,
    /// They stand in every frame since the log began again; what lies behind is older.
    salts: &'f [u8],
    /// Length of a frame.
    frame: u64,
}

impl Log<'_> {
    fn offset(&self, frame: u64) -> u64 {
        HEADER + frame * self.frame
    }

    fn header(&self, frame: u64) -> io::Result<[u8; FRAME_HEADER]> {
        let mut header = [0; FRAME_HEADER];
        read_at(self.file, self.offset(frame), &mut header)?;
        Ok(header)
    }

    /// How many of the first so many frames are of this log.
    fn frames(&self, most: u64) -> io::Result<u64> {
        let (mut known, mut end) = (0, most);
        while known < end {
            let middle = known + (end - known) / 2;
            if &self.header(middle)?[8..16] == self.salts {
                known = middle + 1;
            } else {
                end = middle;
            }
        }
        Ok(known)
    }

    /// The last frame before this one that ends a commit: it has the length of the database, in pages.
    fn commit_before(&self, end: u64) -> io::Result<Option<u64>> {
        for frame in (0..end).rev() {
            if self.header(frame)?[4..8] != [0; 4] {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    /// A database whose log is never cut, and the path of that log.
    fn logged(folder: &Path) -> (Connection, std::path::PathBuf) {
        let connection = Connection::open(folder.join("some.db")).unwrap();
        connection
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (b);")
            .unwrap();
        (connection, folder.join("some.db-wal"))
    }

    fn write(connection: &Connection, bytes: usize) {
        connection.execute("INSERT INTO t VALUES (zeroblob(?1))", [i64::try_from(bytes).unwrap()]).unwrap();
    }

    fn bounds(path: &Path) -> Option<(u64, u64)> {
        last_commit(&File::open(path).unwrap()).unwrap()
    }

    #[test]
    fn the_last_commit_is_what_came_behind_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let (connection, log) = logged(folder.path());
        let length = || log.metadata().unwrap().len();
        assert_eq!(bounds(&log), Some((0, length())), "the first commit comes with the log's header");
        for bytes in [10, 50_000, 10] {
            let before = length();
            write(&connection, bytes);
            assert_eq!(bounds(&log), Some((before, length())));
        }
    }

    #[test]
    fn what_lies_behind_a_log_that_began_anew_is_not_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let (connection, log) = logged(folder.path());
        write(&connection, 500_000);
        connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())).unwrap();
        write(&connection, 10);
        let (begin, end) = bounds(&log).unwrap();
        assert!(begin == 0 && end < 50_000, "{begin} to {end} of {}", log.metadata().unwrap().len());
    }

    #[test]
    fn a_commit_that_was_cut_off_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let (connection, log) = logged(folder.path());
        write(&connection, 10);
        let whole = bounds(&log);
        write(&connection, 50_000);
        let copy = folder.path().join("copy");
        std::fs::copy(&log, &copy).unwrap();
        let length = copy.metadata().unwrap().len();
        File::options().write(true).open(&copy).unwrap().set_len(length - 4_200).unwrap();
        assert_eq!(bounds(&copy), whole);
    }

    #[test]
    fn a_renewed_log_says_what_it_said() {
        let folder = tempfile::tempdir().unwrap();
        let (connection, log) = logged(folder.path());
        write(&connection, 3_000_000);
        let before = std::fs::read(&log).unwrap();
        renew_last_commit(&log).unwrap();
        assert!(std::fs::read(&log).unwrap() == before);
        renew_last_commit(&folder.path().join("none")).unwrap();
        std::fs::write(folder.path().join("short"), b"short").unwrap();
        renew_last_commit(&folder.path().join("short")).unwrap();
    }
}
