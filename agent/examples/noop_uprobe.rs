//! A uprobe that does nothing, at the first instruction of a library's functions, until standard input ends: the
//! yardstick `cargo xtask bench overhead` holds the agent against.
//!
//! `noop_uprobe LIBRARY SYMBOL[+BYTES]…`

use keymoat_agent::kernel::Offsets;
use keymoat_agent::loader::{Kernel, Settings};
use std::io::Read as _;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let library = PathBuf::from(arguments.next().ok_or("usage: noop_uprobe LIBRARY SYMBOL[+BYTES]…")?);
    let kernel = Kernel::load(
        Settings {
            include_loopback: false,
            accepted_connections: false,
            response_budget: 0,
            ring_bytes: 64 * 1024,
            offsets: Offsets::default(),
            unread_hidden: false,
            tree: None,
        },
        None,
    )?;
    for symbol in arguments {
        let (name, offset) = symbol.split_once('+').unwrap_or((&symbol, "0"));
        kernel.attach_noop(&library, name, offset.parse()?)?;
    }
    println!("ready");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
