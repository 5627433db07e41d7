//! Where cgroup v2 is mounted: the socket programs are attached to its root, or to one cgroup below it.

use std::path::PathBuf;

/// A cgroup as kernel programs know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CgroupId {
    /// Its directory's inode number.
    pub id: u64,
    /// How deep it lies below the root of cgroup v2.
    pub level: u32,
}

/// The first cgroup v2 mount of this mount namespace.
pub fn v2_mount() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(mount_point)
}

/// `36 35 98:0 /root /mount/point opts - cgroup2 source super` (proc(5)): the mount point if it is cgroup v2.
fn mount_point(line: &str) -> Option<PathBuf> {
    let (before, after) = line.split_once(" - ")?;
    if after.split(' ').next()? != "cgroup2" {
        return None;
    }
    let mut fields = before.split(' ');
    let (root, point) = (fields.nth(3)?, fields.next()?);
    // A bind mount of a part of the tree would hide every process outside it.
    if root != "/" && !root.starts_with("/..") {
        None
    } else {
        Some(PathBuf::from(point.replace("\\040", " ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_unified_and_hybrid_mounts() {
        let line = "30 24 0:26 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw";
        assert_eq!(mount_point(line), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(mount_point("30 24 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu"), None);
        assert_eq!(mount_point("nonsense"), None);
    }
}
