//! Where this machine gets Debian from. Kernels come from the same place, whichever mirror that is.

use anyhow::{Result, bail};
use std::{fs, path::Path};

/// The archive, and the one for security updates.
#[derive(Debug, PartialEq, Eq, Clone)]
pub struct Mirror {
    main: String,
    security: String,
}

const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

impl Mirror {
    pub fn of_this_machine() -> Result<Self> {
        let mut files = vec![Path::new("/etc/apt/sources.list").to_path_buf()];
        let more = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten();
        files.extend(more.map(|entry| entry.path()));
        let texts = files.iter().filter_map(|file| fs::read_to_string(file).ok());
        let sources: Vec<_> = texts.flat_map(|text| sources(&text)).collect();
        match Self::among(&sources) {
            Some(mirror) => Ok(mirror),
            None => bail!("no Debian archive in /etc/apt/sources.list(.d): test kernels come from there"),
        }
    }

    /// A Debian archive is one that has a `SUITE-security` beside it, or that says Debian's own keys sign it.
    fn among(sources: &[Source]) -> Option<Self> {
        let is_security =
            |source: &&Source| source.suite.ends_with("-security") || source.suite.contains("/updates");
        let security = sources.iter().find(is_security);
        let base = |suite: &str| suite.trim_end_matches("-security").trim_end_matches("/updates").to_owned();
        let main = sources.iter().find(|source| match security {
            Some(security) => !is_security(source) && source.suite == base(&security.suite),
            None => source.signed_by.as_deref() == Some(KEYS),
        })?;
        let main = main.uri.trim_end_matches('/').to_owned();
        let security = security.map_or(format!("{main}-security"), |found| found.uri.clone());
        Some(Self { main, security: security.trim_end_matches('/').to_owned() })
    }

    /// A line of a sources.list for this suite.
    pub fn source(&self, suite: &str) -> String {
        let uri = if suite.ends_with("-security") { &self.security } else { &self.main };
        format!("deb [arch=amd64 signed-by={KEYS}] {uri} {suite} main")
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Source {
    uri: String,
    suite: String,
    signed_by: Option<String>,
}

/// Both formats: one line per source, and paragraphs of `Key: value`.
fn sources(text: &str) -> Vec<Source> {
    let lines = text.lines().filter_map(one_line);
    text.split("\n\n").flat_map(paragraph).chain(lines).collect()
}

fn one_line(line: &str) -> Option<Source> {
    let rest = line.trim().strip_prefix("deb ")?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace();
    let signed_by = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by="));
    Some(Source {
        uri: words.next()?.to_owned(),
        suite: words.next()?.to_owned(),
        signed_by: signed_by.map(str::to_owned),
    })
}

fn paragraph(text: &str) -> Vec<Source> {
    let field = |name: &str| {
        let mut lines = text.lines().filter(|line| !line.starts_with('#'));
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.map(str::trim)
    };
    let on = field("Enabled") != Some("no") && field("Types").is_some_and(|types| types.contains("deb"));
    let uri = field("URIs").and_then(|uris| uris.split_whitespace().next());
    let (Some(uri), Some(suites), true) = (uri, field("Suites"), on) else { return Vec::new() };
    let source = |suite: &str| Source {
        uri: uri.to_owned(),
        suite: suite.to_owned(),
        signed_by: field("Signed-By").map(str::to_owned),
    };
    suites.split_whitespace().map(source).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_and_lines_say_the_same() {
        let paragraphs = "Types: deb\n# a remark\nURIs: http://mirror.test/debian/\nSuites: trixie trixie-updates\n\
             Components: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n\
             Types: deb\nURIs: http://mirror.test/security\nSuites: trixie-security\nComponents: main\n";
        let lines = "# a remark\ndeb [signed-by=/k] https://other.test/tools stable main\n\
             deb http://mirror.test/debian trixie main\n\
             deb [arch=amd64] http://mirror.test/security trixie-security main\n";
        let mirror = Mirror {
            main: "http://mirror.test/debian".into(),
            security: "http://mirror.test/security".into(),
        };
        assert_eq!(Mirror::among(&sources(paragraphs)), Some(mirror.clone()));
        assert_eq!(Mirror::among(&sources(lines)), Some(mirror.clone()));
        let line = mirror.source("bullseye-security");
        assert!(line.ends_with("] http://mirror.test/security bullseye-security main"), "{line}");
    }

    #[test]
    fn without_security_updates_the_keys_tell() {
        let text = format!("deb [signed-by={KEYS}] http://mirror.test/debian sid main\n");
        let mirror = Mirror::among(&sources(&text)).expect("a mirror");
        assert!(mirror.source("bookworm-security").contains("http://mirror.test/debian-security "));
        assert_eq!(Mirror::among(&sources("deb http://other.test/tools stable main")), None);
    }
}
