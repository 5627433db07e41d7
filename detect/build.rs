//! Lists `rules/*.toml` for `RuleSet::builtin`, so that adding a rule file needs no Rust edit.

use std::fmt::Write as _;
use std::{env, fs, io, path::PathBuf};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let folder = root.join("rules");
    println!("cargo::rerun-if-changed={}", folder.display());

    let mut names = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        // Editors leave `.#x.toml` and the like beside the file they edit.
        if name.ends_with(".toml") && !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();

    let mut code = String::from("&[\n");
    for name in &names {
        let path = folder.join(name);
        let origin = format!("rules/{name}");
        let _ = writeln!(code, "    ({origin:?}, include_str!({:?})),", path.display().to_string());
    }
    code.push_str("]\n");
    let target = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("builtin.rs");
    fs::write(target, code)
}
