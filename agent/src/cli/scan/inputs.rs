//! What to read: the named files, and every file below the named directories.

use rustix::fs::{FsWord, OFlags};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

pub enum Input {
    Stdin,
    File(PathBuf, File),
}

#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct Unreadable {
    path: PathBuf,
    source: io::Error,
}

/// Opens one input after the other, in the order given and by name within a directory. Stops when `use_one` fails.
pub fn each(
    named: &[PathBuf],
    use_one: &mut dyn FnMut(Result<Input, Unreadable>) -> io::Result<()>,
) -> io::Result<()> {
    for path in named {
        if path.as_os_str() == "-" {
            use_one(Ok(Input::Stdin))?;
            continue;
        }
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => walk(path, &metadata, use_one)?,
            // Whatever was named is read, a pipe as well.
            _ => use_one(open(path, OFlags::empty()))?,
        }
    }
    Ok(())
}

/// Every regular file below. Symbolic links are not followed, and the kernel's own file systems not entered.
fn walk(
    root: &Path,
    metadata: &Metadata,
    use_one: &mut dyn FnMut(Result<Input, Unreadable>) -> io::Result<()>,
) -> io::Result<()> {
    let mut waiting = vec![(root.to_owned(), metadata.clone())];
    let device = metadata.dev();
    while let Some((path, metadata)) = waiting.pop() {
        if metadata.is_file() {
            // It may have been replaced by a link or a pipe since it was looked at.
            use_one(open(&path, OFlags::NOFOLLOW | OFlags::NONBLOCK))?;
        } else if metadata.is_dir() && (metadata.dev() == device || !is_kernel_made(&path)) {
            match children(&path) {
                Ok(children) => {
                    for child in children.into_iter().rev() {
                        match fs::symlink_metadata(&child) {
                            Ok(metadata) => waiting.push((child, metadata)),
                            Err(source) => use_one(Err(Unreadable { path: child, source }))?,
                        }
                    }
                }
                Err(source) => use_one(Err(Unreadable { path, source }))?,
            }
        }
    }
    Ok(())
}

fn children(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut children =
        fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    children.sort();
    Ok(children)
}

fn open(path: &Path, flags: OFlags) -> Result<Input, Unreadable> {
    let unreadable = |source| Unreadable { path: path.to_owned(), source };
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(unreadable)?;
    Ok(Input::File(path.to_owned(), file))
}

/// File systems whose files are made up while they are read, some of them without end.
fn is_kernel_made(path: &Path) -> bool {
    const MAGIC: [FsWord; 8] = [
        0x9fa0,      // proc
        0x6265_6572, // sysfs
        0x6367_7270, // cgroup2
        0x6462_6720, // debugfs
        0x7472_6163, // tracefs
        0x7363_6673, // securityfs
        0x0027_e0eb, // cgroup
        0x1cd1,      // devpts
    ];
    rustix::fs::statfs(path).is_ok_and(|stat| MAGIC.contains(&stat.f_type))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn names(named: &[PathBuf]) -> (Vec<String>, usize) {
        let (mut found, mut errors) = (Vec::new(), 0);
        each(named, &mut |input| {
            match input {
                Ok(Input::Stdin) => found.push("-".to_owned()),
                Ok(Input::File(path, _)) => {
                    found.push(path.file_name().unwrap().to_string_lossy().into_owned())
                }
                Err(_) => errors += 1,
            }
            Ok(())
        })
        .unwrap();
        (found, errors)
    }

    #[test]
    fn a_directory_is_walked_in_order_and_links_are_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir_all(root.join("b/.git")).unwrap();
        for name in ["c", "a", "b/2", "b/1", "b/.git/config"] {
            fs::write(root.join(name), "x").unwrap();
        }
        symlink(root, root.join("b/loop")).unwrap();
        symlink(root.join("a"), root.join("b/link")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, root.join("b/pipe"), rustix::fs::Mode::RUSR).unwrap();
        let expected = ["a", "config", "1", "2", "c"].map(str::to_owned).to_vec();
        assert_eq!(names(&[root.to_owned()]), (expected, 0));
        // A link that was named is read.
        assert_eq!(names(&[root.join("b/link"), PathBuf::from("-")]).0, ["link", "-"]);
        assert_eq!(names(&[root.join("nothing"), root.join("a")]), (vec!["a".to_owned()], 1));
    }

    #[test]
    fn the_kernels_own_files_are_not_walked_into() {
        assert!(is_kernel_made(Path::new("/proc")));
        assert!(!is_kernel_made(&std::env::temp_dir()));
    }
}
