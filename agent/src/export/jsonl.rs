//! One JSON object per line, to a file or to stdout.

use crate::record::Line;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// Where the lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Stdout,
    File(PathBuf),
}

impl From<&str> for Target {
    /// `-` is stdout.
    fn from(argument: &str) -> Self {
        if argument == "-" { Self::Stdout } else { Self::File(argument.into()) }
    }
}

impl Target {
    /// Opens the target for appending. Findings name programs and places: a new file is its owner's only.
    pub(super) fn open(&self) -> io::Result<Box<dyn Write + Send>> {
        match self {
            Self::Stdout => Ok(Box::new(File::from(io::stdout().as_fd().try_clone_to_owned()?))),
            Self::File(path) => {
                Ok(Box::new(OpenOptions::new().append(true).create(true).mode(0o600).open(path)?))
            }
        }
    }
}

/// Writes lines, and knows which of them did not arrive.
pub(super) struct Writer {
    out: Box<dyn Write + Send>,
    /// A line was cut off in the middle: the next one must not be glued to it.
    torn: bool,
    /// The reader is gone; it does not come back.
    closed: bool,
}

impl Writer {
    pub(super) fn new(out: Box<dyn Write + Send>) -> Self {
        Self { out, torn: false, closed: false }
    }

    /// Writes and flushes all lines. The number of lines that did not arrive.
    pub(super) fn write(&mut self, lines: &[impl AsRef<Line>]) -> u64 {
        if self.closed {
            return lines.len() as u64;
        }
        let mut bytes = if self.torn { vec![b'\n'] } else { Vec::new() };
        let mut ends = Vec::with_capacity(lines.len());
        let mut lost = 0;
        for line in lines {
            let start = bytes.len();
            if serde_json::to_writer(&mut bytes, line.as_ref()).is_ok() {
                bytes.push(b'\n');
                ends.push(bytes.len());
            } else {
                bytes.truncate(start);
                lost += 1;
            }
        }
        let written = self.write_bytes(&bytes);
        self.torn = match bytes.get(..written).and_then(<[u8]>::last) {
            Some(last) => *last != b'\n',
            None => self.torn,
        };
        lost + ends.iter().filter(|end| **end > written).count() as u64
    }

    /// The number of bytes that went out before the first error.
    fn write_bytes(&mut self, bytes: &[u8]) -> usize {
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            match self.out.write(rest) {
                Ok(0) => return written,
                Ok(n) => written += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.closed = error.kind() == ErrorKind::BrokenPipe;
                    tracing::warn!(%error, "cannot write the JSONL output");
                    return written;
                }
            }
        }
        if let Err(error) = self.out.flush() {
            tracing::warn!(%error, "cannot flush the JSONL output");
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{finding, line};
    use super::*;
    use std::sync::{Arc, Mutex};

    /// Takes `room` bytes, then fails.
    struct Narrow {
        taken: Arc<Mutex<Vec<u8>>>,
        room: Arc<Mutex<usize>>,
        error: ErrorKind,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut room = self.room.lock().unwrap();
            let n = bytes.len().min(*room).min(7);
            if n == 0 {
                return Err(self.error.into());
            }
            *room -= n;
            self.taken.lock().unwrap().extend_from_slice(&bytes[..n]);
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    type Shared<T> = Arc<Mutex<T>>;

    fn narrow(room: usize, error: ErrorKind) -> (Writer, Shared<Vec<u8>>, Shared<usize>) {
        let (taken, room) = (Arc::default(), Arc::new(Mutex::new(room)));
        let out = Narrow { taken: Arc::clone(&taken), room: Arc::clone(&room), error };
        (Writer::new(Box::new(out)), taken, room)
    }

    #[test]
    fn a_line_that_did_not_fit_is_counted_and_its_neighbours_stay_whole() {
        let lines = [line(finding(1)), line(finding(2)), line(finding(3))];
        let length = serde_json::to_vec(&*lines[0]).unwrap().len() + 1;
        let (mut writer, taken, room) = narrow(length + 20, ErrorKind::StorageFull);
        assert_eq!(writer.write(&lines), 2);
        *room.lock().unwrap() = usize::MAX;
        assert_eq!(writer.write(&lines), 0);
        let text = String::from_utf8(taken.lock().unwrap().clone()).unwrap();
        let (whole, torn): (Vec<_>, Vec<_>) =
            text.lines().partition(|text| serde_json::from_str::<serde_json::Value>(text).is_ok());
        assert_eq!((whole.len(), torn.len()), (4, 1));
    }

    #[test]
    fn a_reader_that_went_away_costs_lines_and_nothing_else() {
        let (mut writer, _, room) = narrow(0, ErrorKind::BrokenPipe);
        assert_eq!(writer.write(&[line(finding(1))]), 1);
        *room.lock().unwrap() = usize::MAX;
        assert_eq!(writer.write(&[line(finding(2)), line(finding(3))]), 2);
    }

    #[test]
    fn a_new_file_is_for_its_owner_and_an_old_one_is_appended_to() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.jsonl");
        for n in 0..2 {
            let mut writer = Writer::new(Target::File(path.clone()).open().unwrap());
            assert_eq!(writer.write(&[line(finding(n))]), 0);
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
