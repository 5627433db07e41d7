//! `keymoat` itself: its configuration, and verbs that end by themselves.

use super::Mounts;
use crate::key::FLEET_KEY;
use crate::{child, env};
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;

/// A configuration with the tests' fleet key, and more lines.
pub(crate) fn config_file(more: &str) -> PathBuf {
    let fleet_key = env::temp_file("fleet.key", FLEET_KEY.as_bytes());
    std::fs::set_permissions(&fleet_key, Permissions::from_mode(0o600)).expect("chmod");
    env::temp_file("keymoat.toml", format!("fleet_key_file = {fleet_key:?}\n{more}").as_bytes())
}

/// Runs `keymoat` with arguments until it ends by itself, e.g. because it refuses its configuration.
pub fn keymoat(args: &[&str]) -> io::Result<(Option<i32>, String)> {
    keymoat_with(Mounts::Host, args)
}

/// The same where other things are mounted.
pub fn keymoat_with(mounts: Mounts, args: &[&str]) -> io::Result<(Option<i32>, String)> {
    let mut command = mounts.keymoat();
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = command.spawn()?;
    let status = child::wait(&mut running, env::seconds(20.0));
    let output = running.wait_with_output()?;
    let text = [output.stdout, output.stderr].concat();
    Ok((status.and_then(|status| status.code()), String::from_utf8_lossy(&text).into_owned()))
}
