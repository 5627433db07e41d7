//! The key of the fingerprints: the same secret has the same fingerprint on every host that shares it, and
//! without it a fingerprint says nothing about the secret.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Where a host that was given no key keeps one of its own.
pub const DEFAULT_PATH: &str = "/var/lib/keymoat/fleet.key";
const MIN_BYTES: usize = 32;
const MAX_BYTES: usize = 4096;
const RANDOM_BYTES: usize = 32;

pub struct FleetKey {
    bytes: Zeroizing<Vec<u8>>,
    pub origin: KeyOrigin,
}

/// Where the key came from, and what the operator should know about that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyOrigin {
    File {
        path: PathBuf,
        readable_by_others: bool,
    },
    /// Made just now.
    Created(PathBuf),
    /// In memory only: fingerprints change with every start.
    Ephemeral {
        reason: String,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum FleetKeyError {
    #[error("fleet key {}: {source}; check `fleet_key_file`", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error(
        "fleet key {}: {length} bytes are too few or too many (32 to 4096): make one with `openssl rand -hex 32`", path.display()
    )]
    Length { path: PathBuf, length: usize },
    #[error("no random numbers from the kernel: {0}")]
    Random(io::Error),
}

impl FleetKey {
    /// The named file, or this host's own key, which is made on first use.
    pub fn load(named: Option<&Path>) -> Result<Self, FleetKeyError> {
        match named {
            Some(path) => Self::read(path),
            None => Self::own(Path::new(DEFAULT_PATH)),
        }
    }

    /// For one run: its fingerprints can be compared with each other only.
    pub fn ephemeral(reason: impl Into<String>) -> Result<Self, FleetKeyError> {
        Ok(Self { bytes: random_text()?, origin: KeyOrigin::Ephemeral { reason: reason.into() } })
    }

    /// The file's bytes without white space at the end, so that an editor's newline changes nothing.
    pub fn read(path: &Path) -> Result<Self, FleetKeyError> {
        let unreadable = |source| FleetKeyError::Unreadable { path: path.to_owned(), source };
        let file = File::open(path).map_err(unreadable)?;
        let mode = file.metadata().map_err(unreadable)?.mode();
        // Read to a fixed capacity: a buffer that grew would leave copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BYTES + 2));
        file.take(MAX_BYTES as u64 + 2).read_to_end(&mut bytes).map_err(unreadable)?;
        let length = bytes.trim_ascii_end().len();
        bytes.truncate(length);
        if !(MIN_BYTES..=MAX_BYTES).contains(&bytes.len()) {
            return Err(FleetKeyError::Length { path: path.to_owned(), length: bytes.len() });
        }
        let origin = KeyOrigin::File { path: path.to_owned(), readable_by_others: mode & 0o077 != 0 };
        Ok(Self { bytes, origin })
    }

    fn own(path: &Path) -> Result<Self, FleetKeyError> {
        match Self::read(path) {
            Err(FleetKeyError::Unreadable { source, .. }) if source.kind() == ErrorKind::NotFound => {}
            other => return other,
        }
        let key = random_text()?;
        match create(path, &key) {
            Ok(()) => Ok(Self { bytes: key, origin: KeyOrigin::Created(path.to_owned()) }),
            // Another agent was faster.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Self::read(path),
            Err(error) => Self::ephemeral(format!("{} cannot be written: {error}", path.display())),
        }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl KeyOrigin {
    /// What the operator should be told, if anything.
    pub fn warning(&self) -> Option<String> {
        match self {
            Self::File { path, readable_by_others: true } => {
                Some(format!("the fleet key {0} can be read by others: chmod 600 {0}", path.display()))
            }
            Self::Ephemeral { reason } => Some(format!(
                "fingerprints are valid until the next start only ({reason}); set `fleet_key_file` to keep them"
            )),
            Self::File { .. } | Self::Created(_) => None,
        }
    }
}

impl fmt::Debug for FleetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FleetKey").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// Random bytes as hex: a file that can be copied to other hosts by hand.
fn random_text() -> Result<Zeroizing<Vec<u8>>, FleetKeyError> {
    let mut random = Zeroizing::new([0_u8; RANDOM_BYTES]);
    let mut filled = 0;
    while let Some(rest) = random.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        filled += rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty())
            .map_err(|errno| FleetKeyError::Random(errno.into()))?;
    }
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).map_or(b'0', |c| c as u8);
    let mut text = Zeroizing::new(Vec::with_capacity(2 * RANDOM_BYTES));
    text.extend(random.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]));
    Ok(text)
}

/// The file appears whole and readable by its owner only, or not at all.
fn create(path: &Path, key: &[u8]) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let draft = path.with_extension(format!("key.{}", std::process::id()));
    let written =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).and_then(|mut file| {
            file.write_all(key)?;
            file.write_all(b"\n")?;
            file.sync_all()
        });
    // Unlike a rename, a link never replaces a key another agent has just made.
    let placed = written.and_then(|()| fs::hard_link(&draft, path));
    let removed = fs::remove_file(&draft);
    placed.and(removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_host_makes_its_key_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state/fleet.key");
        let first = FleetKey::own(&path).unwrap();
        assert_eq!(first.origin, KeyOrigin::Created(path.clone()));
        assert_eq!(first.bytes().len(), 2 * RANDOM_BYTES);
        let second = FleetKey::own(&path).unwrap();
        assert_eq!(second.bytes(), first.bytes());
        assert_eq!(second.origin.warning(), None);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no draft is left");
        assert!(!format!("{first:?}").contains(std::str::from_utf8(first.bytes()).unwrap()));
    }

    #[test]
    fn where_no_key_can_be_kept_it_lives_in_memory_and_says_so() {
        let key = FleetKey::own(Path::new("/proc/keymoat/fleet.key")).unwrap();
        assert!(key.origin.warning().unwrap().contains("until the next start only"));
        assert_ne!(key.bytes(), FleetKey::ephemeral("test").unwrap().bytes());
    }

    #[test]
    fn a_named_file_must_hold_a_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("k");
        assert!(matches!(FleetKey::load(Some(&path)), Err(FleetKeyError::Unreadable { .. })));
        fs::write(&path, "short\n").unwrap();
        assert!(matches!(FleetKey::load(Some(&path)), Err(FleetKeyError::Length { length: 5, .. })));
        fs::write(&path, "x".repeat(MAX_BYTES + 1)).unwrap();
        assert!(matches!(FleetKey::load(Some(&path)), Err(FleetKeyError::Length { .. })));
        fs::write(&path, "0123456789abcdef0123456789abcdef\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let key = FleetKey::load(Some(&path)).unwrap();
        assert_eq!(key.bytes(), b"0123456789abcdef0123456789abcdef");
        assert!(key.origin.warning().unwrap().contains("chmod 600"));
    }
}
