//! What runs inside a machine: a shell script that says how it ended.

use crate::shell;
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::{
    fmt::Write as _,
    fs::{self, File},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
};

/// Jobs, and the programs they call by name. Each is done once, by whichever machine is free first.
pub struct Suite {
    jobs: Vec<Job>,
    programs: Vec<PathBuf>,
}

struct Job {
    /// A file name.
    name: String,
    command: String,
}

/// Software emulation is that much slower: the tests' deadlines stretch by it.
const SLOW: u32 = 10;
const PROGRAMS: &str = "bin";
const TAKEN: &str = "taken";
/// Begins what a test program prints.
pub const RUNNING: &str = "     Running";

/// What `--brief` leaves out, by parts of the tests' names: twins of tests that see something, tests whose point is how often
/// something is done or which programs do it, and those that start many agents, of which each takes a minute in emulation.
const LEFT_OUT: [&str; 19] = [
    "same_request_without_key",
    "benign::",
    "capture::",
    "a_key_is_only_seen_unless_it_is_to_be_refused",
    "a_signal_is_passed_on",
    "beside_an_agent_that_only_looks",
    "comings_and_goings::",
    "everyday::",
    "it_ends_with_the_commands_code",
    "ladder::signal",
    "ladder::sk_msg",
    "one_refuses_at_a_time",
    "overload::",
    "race::",
    "reload::",
    "strict::",
    "the_command_has_",
    "the_command_outlives_who_watches",
    "ways_out::",
];

/// Arguments for test programs.
pub fn left_out(brief: bool) -> Vec<String> {
    let skip = |part: &&str| ["--skip".to_owned(), (*part).to_owned()];
    LEFT_OUT.iter().filter(|_| brief).flat_map(skip).collect()
}

impl Suite {
    pub fn only(command: &str) -> Self {
        let job = Job { name: "command".to_owned(), command: format!("( {command}\n)") };
        Self { jobs: vec![job], programs: built_programs() }
    }

    /// Every end-to-end test program, built here and run there.
    pub fn of_tests(arguments: &[String]) -> Result<Self> {
        let programs = test_programs()?;
        if programs.is_empty() {
            bail!("keymoat-tests has no test programs");
        }
        let arguments: String = arguments.iter().map(|argument| format!(" {}", quoted(argument))).collect();
        let job = |program: &PathBuf| {
            let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let word = quoted(&name);
            Job { name, command: format!("echo '{RUNNING}' {word}; \"$KEYMOAT_BIN_DIR\"/{word}{arguments}") }
        };
        // From the end of the alphabet: the longest, `syscall_layer`, must not be what everything waits for at last.
        let jobs = programs.iter().rev().map(job).collect();
        Ok(Self { jobs, programs: [programs, built_programs()].concat() })
    }

    /// More machines have nothing to do.
    pub fn most_machines(&self) -> usize {
        self.jobs.len()
    }

    /// Copies of the programs: a build that goes on outside must not change what runs inside.
    pub fn prepare(&self, results: &Path) -> Result<()> {
        let folder = results.join(PROGRAMS);
        fs::create_dir_all(&folder)?;
        fs::create_dir_all(results.join(TAKEN))?;
        for program in &self.programs {
            let copy = folder.join(program.file_name().unwrap_or_default());
            fs::copy(program, &copy).with_context(|| program.display().to_string())?;
            // Tests compile their C programs anew when the source is younger.
            File::open(&copy)?.set_modified(fs::metadata(program)?.modified()?)?;
        }
        Ok(())
    }

    /// `results` is the one folder both sides write to, all machines the same, under names of the machine's own. The
    /// status file appears last.
    pub fn script(&self, results: &Path, machine: usize) -> String {
        let results = quoted(&results.display().to_string());
        let mut script = format!(
            "exec >{results}/output.{machine} 2>&1 </dev/null\n\
             : >{results}/began.{machine}\n\
             export PATH=\"$PATH:/usr/local/sbin:/usr/sbin:/sbin\" HOME=/run/home TMPDIR=/run/tests\n\
             export KEYMOAT_VM=1 KEYMOAT_TEST_SLOW={SLOW} RUST_BACKTRACE=1\n\
             export KEYMOAT_BIN_DIR={results}/{PROGRAMS}\n\
             mkdir -p $HOME $TMPDIR; chmod 1777 $TMPDIR\n\
             for module in veth tls; do modprobe -q $module || echo \"no module: $module\"; done\n\
             mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf\n\
             ip link set lo up\n\
             cd {tests}\n\
             failed=0\n",
            tests = quoted(&shell::root().join("tests").display().to_string()),
        );
        for Job { name, command } in &self.jobs {
            // A folder can be made only once. Writing to a string does not fail.
            let _ = writeln!(
                script,
                "if mkdir {results}/{TAKEN}/{name} 2>/dev/null; then\n{command}\n\
                 code=$?; [ $code = 0 ] || failed=$code\nfi",
                name = quoted(name),
            );
        }
        let _ = writeln!(
            script,
            "echo $failed >{results}/status.part.{machine}; mv {results}/status.part.{machine} {results}/status.{machine}"
        );
        script
    }
}

/// Asks cargo to build the tests and for where it put them.
fn test_programs() -> Result<Vec<PathBuf>> {
    let mut cargo = shell::cargo();
    cargo.args(["test", "--package", "keymoat-tests", "--no-run", "--message-format=json"]);
    let messages = shell::output(cargo.stderr(Stdio::inherit()))?;
    let mut programs = Vec::new();
    for message in messages.lines() {
        let message: Value = serde_json::from_str(message).context("a message of cargo's")?;
        let is =
            |pointer: &str, wanted: &str| message.pointer(pointer).and_then(Value::as_str) == Some(wanted);
        if is("/reason", "compiler-artifact") && is("/target/kind/0", "test") {
            programs.extend(message.pointer("/executable").and_then(Value::as_str).map(PathBuf::from));
        }
    }
    programs.sort();
    Ok(programs)
}

/// What a build leaves at the top of its folder.
fn built_programs() -> Vec<PathBuf> {
    let files = fs::read_dir(shell::binaries()).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_program = |file: &PathBuf| {
        fs::metadata(file).is_ok_and(|facts| facts.is_file() && facts.permissions().mode() & 0o100 != 0)
    };
    files.filter(is_program).collect()
}

/// One word for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
