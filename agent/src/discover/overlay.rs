//! The file behind a file of an overlay.
//!
//! Containers made from one image see its libraries through one overlay each: other device, same file
//! beneath. A probe goes to the file beneath, so one per overlay would fire several times for each call.

use super::maps::{self, Inode, Opened};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const OVERLAYFS_MAGIC: i64 = 0x794c_7630;

/// Opens the layer's file that `opened` is made of; none when it is no overlay's, or the layer is out of
/// reach. Then the overlay's own file does for a probe as well.
pub(super) fn beneath(opened: &Opened, pid: u32, path: &Path) -> Option<Opened> {
    if rustix::fs::fstatfs(&opened.file).ok()?.f_type as i64 != OVERLAYFS_MAGIC {
        return None;
    }
    let text = std::fs::read(format!("/proc/{pid}/mountinfo")).ok()?;
    let mount =
        text.split(|b| *b == b'\n').filter_map(parse_mount).find(|m| m.shows(opened.inode(), path))?;
    let inside = mount.inside(path)?;
    // The first layer that has the file is the one that shows; upper before lower.
    let real = mount.layers.iter().find_map(|layer| maps::open(&layer.join(&inside)).ok())?;
    let same = |a: &Opened, b: &Opened| {
        let (a, b) = (&a.stat, &b.stat);
        (a.st_size, a.st_mtime, a.st_mtime_nsec) == (b.st_size, b.st_mtime, b.st_mtime_nsec)
    };
    same(&real, opened).then_some(real)
}

struct Mount {
    major: u32,
    minor: u32,
    /// Which directory of the file system is mounted.
    root: PathBuf,
    at: PathBuf,
    layers: Vec<PathBuf>,
}

impl Mount {
    fn shows(&self, inode: Inode, path: &Path) -> bool {
        (self.major, self.minor) == (inode.major, inode.minor) && path.starts_with(&self.at)
    }

    fn inside(&self, path: &Path) -> Option<PathBuf> {
        let root = self.root.strip_prefix("/").ok()?;
        Some(root.join(path.strip_prefix(&self.at).ok()?))
    }
}

/// `36 35 0:39 / /mnt rw,relatime shared:1 - overlay overlay rw,lowerdir=/a:/b,upperdir=/c,workdir=/d`
fn parse_mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let device = std::str::from_utf8(fields.by_ref().nth(2)?).ok()?;
    let (major, minor) = device.split_once(':')?;
    let root = unescape(fields.next()?);
    let at = unescape(fields.next()?);
    fields.by_ref().find(|field| *field == b"-")?;
    let kind = fields.next()?;
    let options = fields.nth(1)?;
    (kind == b"overlay").then_some(())?;
    Some(Mount { major: major.parse().ok()?, minor: minor.parse().ok()?, root, at, layers: layers(options) })
}

fn layers(options: &[u8]) -> Vec<PathBuf> {
    let mut upper = Vec::new();
    let mut lower = Vec::new();
    for option in options.split(|byte| *byte == b',') {
        if let Some(value) = option.strip_prefix(b"upperdir=") {
            upper.push(unescape(value));
        } else if let Some(value) = option.strip_prefix(b"lowerdir=") {
            lower.extend(value.split(|byte| *byte == b':').filter(|v| !v.is_empty()).map(unescape));
        } else if let Some(value) = option.strip_prefix(b"lowerdir+=") {
            lower.push(unescape(value));
        }
    }
    upper.extend(lower);
    upper
}

/// Undoes `\040` and the like.
fn unescape(field: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        match rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..] => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = tail;
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    Path::new(OsStr::from_bytes(&out)).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_line() {
        let line = b"36 35 0:39 / /mnt\\040x rw,relatime shared:1 master:2 - overlay overlay \
                     rw,lowerdir=/a:/b\\054c,upperdir=/u,workdir=/w";
        let mount = parse_mount(line).unwrap();
        assert_eq!((mount.major, mount.minor), (0, 39));
        assert_eq!(mount.at, Path::new("/mnt x"));
        assert_eq!(mount.layers, [Path::new("/u"), Path::new("/a"), Path::new("/b,c")]);
        assert_eq!(mount.inside(Path::new("/mnt x/lib/y")).unwrap(), Path::new("lib/y"));
        assert!(parse_mount(b"36 35 8:1 / / rw - ext4 /dev/sda rw").is_none());
        for rubbish in [&b""[..], b"36", b"36 35 x / / - overlay o lowerdir=/a", b"- - -"] {
            assert!(parse_mount(rubbish).is_none());
        }
    }
}
