//! The keymoat agent. Bytes come up from the kernel (`ring`), become flows and findings (`pipeline`), and leave
//! as records (`export`); `discover` keeps the TLS libraries of all processes under watch meanwhile.

pub mod cli;
pub mod config;
pub mod discover;
pub mod doctor;
pub mod elf;
pub mod enforce;
pub mod enrich;
pub mod explain;
pub mod export;
pub mod flow;
pub mod health;
pub mod kernel;
pub mod loader;
pub mod pipeline;
pub mod placement;
pub mod privileges;
pub mod probes;
pub mod record;
pub mod ring;
pub mod socket_layer;
pub mod sockets;
pub mod status;
pub mod terminal;
pub mod tree;
