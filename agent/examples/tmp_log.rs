use keymoat_agent::kernel::TaskOffsets;
use keymoat_agent::loader::{Kernel, Settings};
fn main() {
    tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).init();
    let r = Kernel::load(Settings { include_loopback: false, accepted_connections: false, ring_bytes: 65536, task: TaskOffsets::default() });
    println!("{:?}", r.err());
}
