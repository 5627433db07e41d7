use super::*;
use proptest::prelude::*;

fn mask(arguments: &[&str]) -> Vec<String> {
    let mut masker = Masker::default();
    arguments.iter().map(|a| masker.argument(a)).collect()
}

fn check(arguments: &[&str], expected: &[&str]) {
    assert_eq!(mask(arguments), expected);
}

#[test]
fn flags_that_announce_a_secret() {
    check(&["x", "--password", "foo", "bar"], &["x", "--password", "***", "bar"]);
    check(&["x", "--password=foo bar", "baz"], &["x", "--password=***", "baz"]);
    check(
        &["x", "--api-key", "abc", "--client-secret=def"],
        &["x", "--api-key", "***", "--client-secret=***"],
    );
    check(&["java", "-Dhttp.proxyPassword=hunter2"], &["java", "-Dhttp.proxyPassword=***"]);
    check(&["x", "-token", "-abc"], &["x", "-token", "***"]);
    check(&["openssl", "-passin", "pass:foo"], &["openssl", "-passin", "pass:***"]);
    check(&["x", "--token", "--verbose", "y"], &["x", "--token", "--verbose", "y"]);
}

#[test]
fn environment_style() {
    check(&["env", "DB_PASS=a b;c&d", "LANG=C"], &["env", "DB_PASS=***", "LANG=C"]);
    check(&["docker", "run", "--env=MY_TOKEN=a;b"], &["docker", "run", "--env=MY_TOKEN=***"]);
    check(
        &["env", "AWS_SECRET_ACCESS_KEY=abc", "AWS_ACCESS_KEY_ID=id"],
        &["env", "AWS_SECRET_ACCESS_KEY=***", "AWS_ACCESS_KEY_ID=id"],
    );
}

#[test]
fn headers() {
    check(&["curl", "-H", "Authorization: Bearer abc def"], &["curl", "-H", "Authorization: Bearer ***"]);
    check(&["curl", "--header", "x-api-key: abc"], &["curl", "--header", "x-api-key: ***"]);
    check(&["curl", "--header=Authorization: Basic abc"], &["curl", "--header=Authorization: Basic ***"]);
    check(&["curl", "-HCookie: a=b; c=d"], &["curl", "-HCookie: ***"]);
    check(&["curl", "-H", "x-api-key: sk-ant-api…(108)"], &["curl", "-H", "x-api-key: sk-ant-api…(108)"]);
}

#[test]
fn users() {
    check(&["curl", "-u", "me:pw", "https://a/"], &["curl", "-u", "me:***", "https://a/"]);
    check(&["curl", "-ume:pw:x", "--proxy-user=me:pw"], &["curl", "-ume:***", "--proxy-user=me:***"]);
    check(&["sudo", "-u", "www", "id"], &["sudo", "-u", "www", "id"]);
    check(&["go", "-url=https://a/b"], &["go", "-url=https://a/b"]);
}

#[test]
fn urls() {
    check(&["git", "clone", "https://me:pw@host/x"], &["git", "clone", "https://me:***@host/x"]);
    check(
        &["git", "clone", "ssh://git@host/x", "http://host/a@b:c"],
        &["git", "clone", "ssh://git@host/x", "http://host/a@b:c"],
    );
    check(&["x", "https://0123456789abcdef0123456@host"], &["x", "https://***@host"]);
    check(&["curl", "https://h/p?a=1&token=abc&b=2#f"], &["curl", "https://h/p?a=1&token=***&b=2#f"]);
    check(&["x", "postgres://u:p:q@h/d?sslmode=no"], &["x", "postgres://u:***@h/d?sslmode=no"]);
}

#[test]
fn inside_a_shell_command() {
    let command = "curl -u me:pw -H \"Authorization: Bearer abc\" 'https://h/?api_key=k&x=1' --password foo -d '{\"secret\": \"a b\"}'";
    let masked = "curl -u me:*** -H \"Authorization: Bearer ***\" 'https://h/?api_key=***&x=1' --password *** -d '{\"secret\": \"***\"}'";
    check(&["sh", "-c", command], &["sh", "-c", masked]);
    check(
        &["sh", "-c", r#"x -d "{\"password\":\"a'b\",\"n\":1}""#],
        &["sh", "-c", r#"x -d "{\"password\":\"***\",\"n\":1}""#],
    );
    check(&["x", r#"{"password":"a\"b","n":1}"#], &["x", r#"{"password":"***","n":1}"#]);
}

#[test]
fn programs_with_flags_of_their_own() {
    check(&["/usr/bin/mysql", "-uroot", "-phunter2", "db"], &["/usr/bin/mysql", "-uroot", "-p***", "db"]);
    check(&["sshpass", "-p", "hunter2", "ssh", "h"], &["sshpass", "-p", "***", "ssh", "h"]);
    check(&["ssh", "-p", "22", "h"], &["ssh", "-p", "22", "h"]);
}

#[test]
fn ordinary_arguments_stay() {
    let ordinary = [
        "cc",
        "-o",
        "compass",
        "--token-file=/etc/t",
        "--max-tokens=5",
        "-Wall",
        "secret",
        "passwords.txt",
        "a:b",
        "tokenizer=x",
    ];
    check(&ordinary, &ordinary);
}

proptest! {
    /// Whatever surrounds it, a value announced as a secret is gone, and nothing panics.
    #[test]
    fn announced_values_never_survive(before in "\\PC{0,20}", value in "[a-zA-Z0-9]{6,20}Zq7", after in "\\PC{0,20}") {
        for text in [
            format!("--password={value}{after}"),
            format!("DB_PASSWORD={value} {after}"),
            format!("{before} --token={value} {after}"),
            format!("{before} Authorization: Bearer {value}"),
            format!("{before}\n\"secret\":\"{value}\"{after}"),
        ] {
            // A name glued to other name characters in front is still a name that ends in a secret word.
            let masked = mask(&["x", &text]).join(" ");
            prop_assert!(!masked.contains(&value), "{text:?} -> {masked:?}");
        }
    }

    #[test]
    fn any_text_is_survived(arguments in proptest::collection::vec("[ -~]{0,40}|\\PC{0,40}", 0..6)) {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        prop_assert_eq!(mask(&arguments).len(), arguments.len());
    }
}
