//! git's own server program behind HTTPS (`git http-backend`, a CGI program), with one empty repository that takes
//! pushes.

use crate::env;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

static PROJECTS: LazyLock<PathBuf> = LazyLock::new(|| {
    let projects = env::fresh_dir("git");
    let repository = projects.join("notes.git");
    git(&["init", "--quiet", "--bare", &repository.display().to_string()]);
    git(&["-C", &repository.display().to_string(), "config", "http.receivepack", "true"]);
    projects
});

fn git(args: &[&str]) {
    let status = Command::new(env::tool("git")).args(args).status().expect("run git");
    assert!(status.success(), "git {args:?}: {status}");
}

/// Answers one request (RFC 3875, with the variables `git help http-backend` names).
pub(super) fn answer(request: &[u8]) -> Vec<u8> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Request::new(&mut headers);
    let Ok(httparse::Status::Complete(length)) = head.parse(request) else {
        return b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n".to_vec();
    };
    let value = |name: &str| {
        let header = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        header.map_or(String::new(), |header| String::from_utf8_lossy(header.value).into_owned())
    };
    let (path, query) = head.path.unwrap_or("/").split_once('?').unwrap_or((head.path.unwrap_or("/"), ""));
    let variables = [
        ("REQUEST_METHOD", head.method.unwrap_or("GET").to_owned()),
        ("PATH_INFO", path.to_owned()),
        ("QUERY_STRING", query.to_owned()),
        ("CONTENT_TYPE", value("content-type")),
        ("HTTP_CONTENT_ENCODING", value("content-encoding")),
        ("CONTENT_LENGTH", (request.len() - length).to_string()),
    ];
    response(&backend(&PROJECTS, &variables, &request[length..]))
}

fn backend(projects: &Path, variables: &[(&str, String)], body: &[u8]) -> Vec<u8> {
    let mut child = Command::new(env::tool("git"))
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", projects)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("run git http-backend");
    // What is pushed in these tests fits a pipe; the program reads it all before it answers.
    drop(child.stdin.take().expect("a pipe").write_all(body));
    child.wait_with_output().expect("git http-backend").stdout
}

/// A CGI program's output as an HTTP response.
fn response(output: &[u8]) -> Vec<u8> {
    let end = output.windows(4).position(|window| window == b"\r\n\r\n").map_or(output.len(), |at| at + 4);
    let (head, body) = output.split_at(end);
    let head = String::from_utf8_lossy(head);
    let status = head.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("200 OK");
    let fields: String = head
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("Status:"))
        .fold(String::new(), |all, line| all + line + "\r\n");
    let head = format!("HTTP/1.1 {status}\r\n{fields}content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}
