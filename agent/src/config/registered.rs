//! Registered values: secrets of the user's own, named in a file that only its owner may read. The values are read into
//! memory that is wiped; no error repeats one.

use keymoat_detect::{Refused, Registry};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// 4096 values of 4000 bytes would be 16 MiB; real files are small.
const MAX_BYTES: usize = 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum RegisteredError {
    #[error("{}: {source}; correct or remove this path in `registered_values_file`", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{}: it belongs to neither root nor whoever runs this: chown it", .0.display())]
    Owner(PathBuf),
    #[error("{path}: the values in it can be read or changed by others: chmod 600 {path}", path = .0.display())]
    Mode(PathBuf),
    #[error("{}: larger than 1 MiB: register fewer values", .0.display())]
    TooLarge(PathBuf),
    #[error("{}:{line}: write `NAME = \"value\"`, or `NAME = 'value'` for a value with quotes or backslashes in it", path.display())]
    Syntax { path: PathBuf, line: usize },
    #[error("{}:{line}: {source}", path.display())]
    Refused { path: PathBuf, line: usize, source: Refused },
}

/// The values of a file, if it may be trusted and each of them can be told from unrelated text.
pub fn read(path: &Path) -> Result<Registry, RegisteredError> {
    let text = contents(path)?;
    let mut values = Registry::builder();
    for (line, entry) in (1..).zip(text.split(|&byte| byte == b'\n')) {
        let entry = entry.trim_ascii();
        if entry.is_empty() || entry.starts_with(b"#") {
            continue;
        }
        let (name, value) =
            parse(entry).ok_or_else(|| RegisteredError::Syntax { path: path.to_owned(), line })?;
        values.add(name, value).map_err(|source| RegisteredError::Refused {
            path: path.to_owned(),
            line,
            source,
        })?;
    }
    Ok(values.build())
}

fn contents(path: &Path) -> Result<Zeroizing<Vec<u8>>, RegisteredError> {
    let unreadable = |source| RegisteredError::Unreadable { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    let about = file.metadata().map_err(unreadable)?;
    if about.uid() != 0 && about.uid() != rustix::process::geteuid().as_raw() {
        return Err(RegisteredError::Owner(path.to_owned()));
    }
    if about.mode() & 0o077 != 0 {
        return Err(RegisteredError::Mode(path.to_owned()));
    }
    if about.len() > MAX_BYTES as u64 {
        return Err(RegisteredError::TooLarge(path.to_owned()));
    }
    // Room for all of it, and the byte that says there is more: a buffer that grew would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BYTES + 1));
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > MAX_BYTES {
        return Err(RegisteredError::TooLarge(path.to_owned()));
    }
    Ok(bytes)
}

/// One line of a TOML table whose values are on one line each and have no escapes. A whole TOML parser would keep
/// copies of the values.
fn parse(entry: &[u8]) -> Option<(&str, &[u8])> {
    let (name, value) = entry.split_at_checked(entry.iter().position(|&byte| byte == b'=')?)?;
    let name = std::str::from_utf8(name).ok()?.trim();
    let is_bare = !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    let value = value.get(1..)?.trim_ascii_start();
    let (&quote, rest) = value.split_first()?;
    let (value, after) = rest.split_at_checked(rest.iter().position(|&byte| byte == quote)?)?;
    let after = after.get(1..)?.trim_ascii_start();
    let is_literal = quote == b'\'' || (quote == b'"' && !value.contains(&b'\\'));
    (is_bare && is_literal && (after.is_empty() || after.starts_with(b"#"))).then_some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    const VALUE: &str = "q7Zr0WxkT4vN9bYd";

    fn file(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("values");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (directory, path)
    }

    fn error(text: &str) -> String {
        let (_directory, path) = file(text, 0o600);
        let error = read(&path).unwrap_err().to_string();
        assert!(!error.contains(VALUE), "{error}");
        error.replace(&path.display().to_string(), "FILE")
    }

    #[test]
    fn values_stand_on_lines_of_their_own() {
        let text = format!(
            "# ours\n\nPASSWORD = \"{VALUE}\"\r\nother-1 = 'x9Kq/2+Lm\"Pz\\7?w'  # quoted\nA.b=\"{VALUE}=\"\n"
        );
        let (_directory, path) = file(&text, 0o600);
        let registry = read(&path).unwrap();
        assert_eq!(registry.len(), 3);
        let mut names = Vec::new();
        registry.scan(b"?x9Kq/2+Lm\"Pz\\7?w?", &mut |exact| names.push(exact.name.to_owned()));
        assert_eq!(names, ["other-1"]);
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        for mode in [0o640, 0o604, 0o620, 0o777] {
            let (_directory, path) = file(&format!("A = \"{VALUE}\"\n"), mode);
            let error = read(&path).unwrap_err();
            assert!(matches!(error, RegisteredError::Mode(_)) && error.to_string().contains("chmod 600"));
        }
        let (_directory, path) = file(&format!("A = \"{VALUE}\"\n"), 0o400);
        assert!(read(&path).is_ok());
        assert!(matches!(read(Path::new("/nowhere")), Err(RegisteredError::Unreadable { .. })));
    }

    #[test]
    fn what_cannot_be_told_from_text_is_refused_by_name_and_not_shown() {
        assert_eq!(
            error("A = \"q7Zr0Wxk\"\nSHORT = \"q7Zr0Wx\"\n"),
            "FILE:2: `SHORT` has 7 bytes: at least 8 are needed, or it would be found in unrelated text"
        );
        for value in ["correct horse battery", "xxxxxxxxxxxx", "20231117"] {
            let error = error(&format!("WEAK = \"{value}\"\n"));
            assert!(error.starts_with("FILE:1: `WEAK` ") && !error.contains(value), "{error}");
        }
    }

    #[test]
    fn a_line_that_is_none_is_named_and_not_shown() {
        for line in [
            VALUE.to_owned(),
            format!("A = {VALUE}"),
            format!("A = \"{VALUE}"),
            format!("A = \"{VALUE}\" x"),
            format!("A = \"{VALUE}\\n\""),
            format!("{VALUE} A = \"x\""),
            format!("= \"{VALUE}\""),
        ] {
            assert!(error(&format!("\n{line}\n")).starts_with("FILE:2: write `NAME"), "{line}");
        }
    }
}
