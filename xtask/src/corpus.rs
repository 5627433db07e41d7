//! `cargo xtask corpus`: does the catalogue cry wolf? Scans what other people publish, full of things that look like
//! secrets (minified scripts, hashes, base64 images, example keys, test fixtures), with the default rules. What
//! they find of severity high or above must stand in the table of docs/rules.md, with the reason.

use crate::{
    apt,
    needs::Group,
    setup,
    shell::{self, say},
};
use anyhow::{Context as _, Result, bail};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

#[derive(clap::Args)]
pub struct Args {
    /// Scan what an earlier run downloaded, and download nothing
    #[arg(long)]
    offline: bool,
}

/// The manual's table of findings that are right: `| rule | package | why |`.
const TABLE: &str = "docs/rules.md";
/// The repository that is made of a package, so that git's objects and packs are in the corpus.
const REPOSITORY: &str = "git:typescript";

const NPM: &[(&str, &str)] = &[
    ("@angular/compiler", "21.2.26"),
    ("@anthropic-ai/sdk", "1.14.0"),
    ("@clerk/backend", "3.25.0"),
    ("@elastic/elasticsearch", "9.4.3"),
    ("@google/genai", "2.32.0"),
    ("@octokit/openapi", "23.0.2"),
    ("@sendgrid/client", "8.1.6"),
    ("@sentry/node", "11.12.0"),
    ("@slack/web-api", "8.2.0"),
    ("@supabase/supabase-js", "2.109.0"),
    ("ai", "6.0.326"),
    ("algoliasearch", "5.64.0"),
    ("aws-sdk", "2.1693.0"),
    ("bullmq", "6.7.0"),
    ("dd-trace", "5.132.0"),
    ("discord.js", "14.28.1"),
    ("drizzle-orm", "0.45.4"),
    ("ethers", "6.17.0"),
    ("firebase", "13.2.0"),
    ("firebase-tools", "15.34.2"),
    ("ioredis", "6.0.0"),
    ("jose", "6.2.18"),
    ("langchain", "1.5.14"),
    ("mapbox-gl", "3.32.0"),
    ("mermaid", "11.17.2"),
    ("monaco-editor", "0.57.0"),
    ("mongodb", "7.9.0"),
    ("n8n-workflow", "2.41.0"),
    ("next", "16.4.6"),
    ("node-forge", "1.4.3"),
    ("npm", "11.21.2"),
    ("openai", "6.49.0"),
    ("pdfjs-dist", "5.6.205"),
    ("plotly.js-dist", "4.1.1"),
    ("posthog-js", "1.449.2"),
    ("prisma", "7.10.1"),
    ("renovate", "39.264.1"),
    ("sequelize", "6.37.8"),
    ("serverless", "4.43.0"),
    ("stripe", "23.1.0"),
    ("swagger-ui-dist", "5.35.0"),
    ("three", "0.187.0"),
    ("twilio", "6.2.0"),
    ("typeorm", "1.1.1"),
    ("typescript", "7.0.2"),
    ("vercel", "64.0.2"),
    ("web3", "4.16.0"),
    ("wrangler", "4.86.0"),
];

const PIP: &[(&str, &str)] = &[
    ("ansible-core", "2.19.14"),
    ("anthropic", "2.14.0"),
    ("apache-airflow-core", "3.3.2"),
    ("azure-identity", "1.27.0"),
    ("azure-mgmt-compute", "39.0.0"),
    ("azure-storage-blob", "12.31.1"),
    ("bokeh", "3.9.2"),
    ("boto3", "1.44.8"),
    ("botocore", "1.44.8"),
    ("celery", "5.7.0"),
    ("cryptography", "50.0.2"),
    ("datasets", "5.2.0"),
    ("detect-secrets", "1.5.0"),
    ("django", "5.2.19"),
    ("google-api-python-client", "2.202.0"),
    ("google-cloud-aiplatform", "2.7.0"),
    ("google-cloud-storage", "3.17.1"),
    ("gradio", "6.31.0"),
    ("huggingface-hub", "2.4.0"),
    ("jupyterlab", "4.6.6"),
    ("kombu", "5.7.0"),
    ("kubernetes", "37.0.2"),
    ("langchain-community", "0.4.2"),
    ("langchain-core", "1.8.4"),
    ("litellm", "1.110.2"),
    ("mlflow", "3.18.0"),
    ("moto", "5.2.5"),
    ("openai", "3.57.0"),
    ("plotly", "7.1.0"),
    ("prefect", "3.9.1"),
    ("pyjwt", "2.15.1"),
    ("pymongo", "4.20.1"),
    ("redis", "8.1.0"),
    ("sentencepiece", "0.2.3"),
    ("sentry-sdk", "2.75.0"),
    ("slack-sdk", "3.48.0"),
    ("sphinx", "9.0.4"),
    ("sqlalchemy", "2.1.9"),
    ("streamlit", "1.67.0"),
    ("stripe", "16.1.0"),
    ("tokenizers", "0.23.3"),
    ("transformers", "5.24.0"),
    ("twilio", "9.13.0"),
    ("wandb", "0.31.0"),
];

/// Documentation packages. Debian's sources keep one version of each; it is whichever this system's sources have.
const APT: &[&str] = &[
    "ansible",
    "docker-doc",
    "git-doc",
    "golang-github-aws-aws-sdk-go-dev",
    "libcurl4-doc",
    "libssl-doc",
    "linux-doc-6.1",
    "nginx-doc",
    "nodejs-doc",
    "postgresql-doc-15",
    "python-celery-doc",
    "python-django-doc",
    "python-sqlalchemy-doc",
    "python3.11-doc",
    "rust-doc",
];

pub fn run(args: &Args) -> Result<()> {
    setup::ensure(&[Group::Build, Group::Corpus])?;
    shell::run(shell::cargo().args(["build", "--release", "--package", "keymoat-agent"]))?;
    let folder = shell::target().join("corpus");
    fs::create_dir_all(&folder)?;
    if !args.offline {
        download(&folder)?;
    }
    let packages = packages(&folder)?;
    let findings = scan(&folder)?;
    judge(&packages, &findings)
}

fn download(corpus: &Path) -> Result<()> {
    for (name, version) in NPM {
        let spec = format!("{name}@{version}");
        fetch(corpus, "npm", &spec, &|files| {
            let mut npm = Command::new("npm");
            npm.args(["pack", "--silent", "--ignore-scripts", &spec]).current_dir(files);
            npm
        })?;
    }
    for (name, version) in PIP {
        let spec = format!("{name}=={version}");
        fetch(corpus, "pip", &spec.replace("==", "@"), &|files| {
            let mut pip = Command::new("pip3");
            pip.args(["download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", "."]);
            pip.arg(&spec).current_dir(files);
            pip
        })?;
    }
    if apt::is_here() {
        for name in APT {
            fetch(corpus, "apt", name, &|files| {
                let mut apt = Command::new("apt-get");
                // The sandbox's user may not write here.
                apt.args(["download", "-qq", "-o", "APT::Sandbox::User=root", name]).current_dir(files);
                apt
            })?;
        }
    } else {
        say(format!("no apt: {} packages are left out", APT.len()));
    }
    repository(corpus)
}

/// Downloads and unpacks one package, unless it is there already.
fn fetch(corpus: &Path, source: &str, spec: &str, client: &dyn Fn(&Path) -> Command) -> Result<()> {
    let place = corpus.join(format!("{source}:{}", spec.replace('/', "+")));
    if place.exists() {
        return Ok(());
    }
    say(format!("{source}: {spec}"));
    let fresh = corpus.join(".fresh"); // left by a run that was interrupted, perhaps
    let (files, unpacked) = (fresh.join("files"), fresh.join("unpacked"));
    if fresh.exists() {
        fs::remove_dir_all(&fresh)?;
    }
    fs::create_dir_all(&files)?;
    fs::create_dir_all(&unpacked)?;
    shell::run(&mut client(&files))?;
    for entry in fs::read_dir(&files)? {
        unpack(&entry?.path(), &unpacked)?;
    }
    fs::rename(&unpacked, &place)?;
    Ok(fs::remove_dir_all(&fresh)?)
}

fn unpack(archive: &Path, into: &Path) -> Result<()> {
    let kind = archive.extension().unwrap_or_default().to_string_lossy();
    match kind.as_ref() {
        "tgz" => {
            shell::run(Command::new("tar").args(["--no-same-owner", "-xzf"]).arg(archive).arg("-C").arg(into))
        }
        "whl" => shell::run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(archive).arg(into)),
        "deb" => {
            shell::run(Command::new("dpkg-deb").arg("-x").arg(archive).arg(into))?;
            // Documentation is packed; what is to be read is inside.
            let packed = ["-type", "f", "-name", "*.gz", "-exec", "gunzip", "-qf", "{}", "+"];
            shell::run(Command::new("find").arg(into).args(packed))
        }
        other => bail!("{}: no way to unpack .{other}", archive.display()),
    }
}

/// Git's own objects and packs, made of a package that is there.
fn repository(corpus: &Path) -> Result<()> {
    let place = corpus.join(REPOSITORY);
    if place.exists() {
        return Ok(());
    }
    let Some((name, version)) = NPM.iter().find(|(name, _)| REPOSITORY.ends_with(name)) else {
        bail!("{REPOSITORY} is made of no package in the list");
    };
    let files = corpus.join(format!("npm:{name}@{version}"));
    let git = |words: &[&str]| {
        let mut git = Command::new("git");
        git.arg("--git-dir").arg(&place).arg("--work-tree").arg(&files).args(words);
        shell::run(&mut git)
    };
    git(&["init", "--quiet"])?;
    git(&["add", "--all"])?;
    git(&[
        "-c",
        "user.name=corpus",
        "-c",
        "user.email=corpus@localhost",
        "commit",
        "--quiet",
        "--message",
        "all",
    ])?;
    git(&["repack", "--quiet", "-a"])
}

/// What is in the corpus, with its size in bytes.
fn packages(corpus: &Path) -> Result<BTreeMap<String, u64>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(corpus)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && entry.path().is_dir() {
            all.insert(name, size(&entry.path())?);
        }
    }
    Ok(all)
}

fn size(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let facts = entry.metadata()?; // not of what a link leads to
            match facts.is_dir() {
                true => waiting.push(entry.path()),
                false => bytes += facts.len(),
            }
        }
    }
    Ok(bytes)
}

/// Rule, severity and package of what was found, and how often.
type Findings = BTreeMap<(String, String, String), usize>;

fn scan(corpus: &Path) -> Result<Findings> {
    let config = corpus.join(".agent.toml"); // the default rules, whatever this machine's configuration says
    fs::write(&config, "")?;
    let keymoat: PathBuf = shell::target().join("release/keymoat");
    say(format!("scanning {}", corpus.display()));
    let mut command = Command::new(keymoat);
    command.args(["scan", "--json", "--config"]).arg(&config).arg(".").current_dir(corpus);
    let output = command.output().with_context(|| shell::line(&command))?;
    if !matches!(output.status.code(), Some(0 | 1)) {
        bail!("{}: {}", shell::line(&command), String::from_utf8_lossy(&output.stderr).trim());
    }
    let mut findings = Findings::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let finding: serde_json::Value = serde_json::from_str(line)?;
        let text = |pointer| finding.pointer(pointer).and_then(|value| value.as_str()).unwrap_or_default();
        let package = text("/file").trim_start_matches("./").split('/').next().unwrap_or_default();
        let key = (text("/rule/id").to_owned(), text("/rule/severity").to_owned(), package.to_owned());
        *findings.entry(key).or_default() += 1;
    }
    Ok(findings)
}

fn judge(packages: &BTreeMap<String, u64>, findings: &Findings) -> Result<()> {
    let manual = fs::read_to_string(shell::root().join(TABLE))?;
    let known = known(&manual);
    let mut unknown = 0;
    println!("{:>6}  {:<9}{:<36}package", "count", "severity", "rule");
    for ((rule, severity, package), count) in findings {
        let grave = matches!(severity.as_str(), "high" | "critical");
        let right = known.iter().any(|(id, name)| id == rule && name == without_version(package));
        let note = if grave && !right { "  <- not in the table" } else { "" };
        unknown += usize::from(!note.is_empty());
        println!("{count:>6}  {severity:<9}{rule:<36}{package}{note}");
    }
    let mib = packages.values().sum::<u64>() >> 20;
    say(format!("{} packages, {mib} MiB, {} findings", packages.len(), findings.values().sum::<usize>()));
    if unknown > 0 {
        bail!(
            "{unknown} kinds of findings of severity high or above are not in the table of {TABLE}: make the rule \
             stricter, or say there why the finding is right"
        );
    }
    Ok(())
}

/// Rows of the manual's table: rule, and `npm:name`, `pip:name` or `apt:name`.
fn known(manual: &str) -> Vec<(&str, String)> {
    let rows = manual.lines().filter_map(|line| {
        let mut cells = line.strip_prefix('|')?.split('|').map(|cell| cell.trim().trim_matches('`'));
        Some((cells.next()?, cells.next()?.replace('/', "+")))
    });
    rows.filter(|(_, package)| package.contains(':')).collect()
}

fn without_version(package: &str) -> &str {
    match package.rfind('@') {
        // A scope: `npm:@slack+web-api`.
        Some(at) if !package.get(..at).unwrap_or_default().ends_with(':') => {
            package.get(..at).unwrap_or(package)
        }
        _ => package,
    }
}
