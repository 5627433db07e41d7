//! The arguments of a process, with every secret taken out before anything else sees them.

use super::mask::Masker;
use keymoat_detect::{Detector, redact_all};
use std::io::Read;

pub const MAX_ARGUMENTS: usize = 64;
pub const MAX_ARGUMENT_BYTES: usize = 512;
/// What is read of a command line. An argument is redacted whole before it is cut: a cut key has no format.
const MAX_READ: u64 = 64 * 1024;
const CUT: &str = "…";

/// Reads `/proc/PID/cmdline`: arguments, each ended by a NUL.
pub fn read(detector: &Detector, source: impl Read) -> std::io::Result<Vec<String>> {
    let mut raw = Raw(Vec::new());
    source.take(MAX_READ).read_to_end(&mut raw.0)?;
    Ok(redact(detector, &raw.0))
}

/// Bytes that are overwritten when they are no longer needed.
struct Raw(Vec<u8>);

impl Drop for Raw {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

fn redact(detector: &Detector, raw: &[u8]) -> Vec<String> {
    let is_cut = raw.len() as u64 >= MAX_READ;
    let mut arguments: Vec<&[u8]> = raw.split(|byte| *byte == 0).collect();
    // After the last NUL: nothing, or the rest of an argument that was not read to its end.
    let rest = arguments.pop().unwrap_or_default();
    if !rest.is_empty() && !is_cut {
        arguments.push(rest); // a process that wrote its own title
    }
    let is_longer = is_cut || arguments.len() > MAX_ARGUMENTS;
    let mut masker = Masker::default();
    let redacted = arguments.iter().take(MAX_ARGUMENTS).map(|argument| {
        let text = String::from_utf8_lossy(argument);
        cut(masker.argument(&redact_argument(detector, &text)))
    });
    redacted.chain(is_longer.then(|| CUT.to_owned())).collect()
}

/// The value of `-Hvalue` is looked at by itself too: glued to its flag, a key does not look like one.
fn redact_argument(detector: &Detector, text: &str) -> String {
    match text.split_at_checked(2) {
        Some((flag, value)) if flag.starts_with('-') && flag != "--" => {
            redact_all(detector, &format!("{flag}{}", redact_all(detector, value)))
        }
        _ => redact_all(detector, text),
    }
}

fn cut(mut argument: String) -> String {
    if argument.len() > MAX_ARGUMENT_BYTES {
        let end = argument.floor_char_boundary(MAX_ARGUMENT_BYTES - CUT.len());
        argument.truncate(end);
        argument.push_str(CUT);
    }
    argument
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(raw: &[u8]) -> Vec<String> {
        read(&crate::enrich::detector(), raw).unwrap()
    }

    fn key() -> String {
        format!("sk-ant-{}03-{}AA", "api", "k9_Z-".repeat(19).get(..93).unwrap())
    }

    #[test]
    fn keys_are_found_by_their_format_wherever_they_stand() {
        let key = key();
        let raw = format!("curl\0--header\0x-api-key: {key}\0-d\0{{\"k\":\"{key}\"}}\0{key}\0-H{key}\0");
        let arguments = redacted(raw.as_bytes());
        assert!(!arguments.concat().contains("k9_Z"), "{arguments:?}");
        assert_eq!(arguments[2], "x-api-key: sk-ant-api…(108)");
        assert_eq!(arguments[5], "sk-ant-api…(108)");
    }

    #[test]
    fn long_arguments_are_redacted_before_they_are_cut() {
        let key = key();
        for start in 380..MAX_ARGUMENT_BYTES + 4 {
            let raw = format!("x\0{} {key} {}\0", "y".repeat(start), "z".repeat(400));
            let arguments = redacted(raw.as_bytes());
            assert!(
                !arguments[1].contains("k9_Z") && arguments[1].len() <= MAX_ARGUMENT_BYTES,
                "{start}: {arguments:?}"
            );
        }
        assert!(redacted("é".repeat(1000).as_bytes())[0].ends_with('…'));
    }

    /// What follows a read's end is not known, so the argument it cuts is not shown at all.
    #[test]
    fn an_argument_that_was_not_read_to_its_end_is_left_out() {
        let start = MAX_READ as usize - 60;
        let raw = format!("x\0{}\0{}", "y".repeat(start - 3), key());
        assert_eq!(redacted(raw.as_bytes()).len(), 3);
        assert!(!redacted(raw.as_bytes()).concat().contains("sk-ant"));
    }

    #[test]
    fn arguments_are_counted() {
        let raw = "a\0".repeat(500);
        let arguments = redacted(raw.as_bytes());
        assert_eq!((arguments.len(), arguments[MAX_ARGUMENTS].as_str()), (MAX_ARGUMENTS + 1, "…"));
    }

    #[test]
    fn odd_command_lines() {
        assert!(redacted(b"").is_empty());
        assert_eq!(redacted(b"\0\0"), ["", ""]);
        assert_eq!(redacted(b"nginx: worker process"), ["nginx: worker process"]);
        assert_eq!(redacted(b"\xff\xfe\0"), ["\u{fffd}\u{fffd}"]);
    }
}
