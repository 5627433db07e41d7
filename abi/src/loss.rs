//! Why something was not delivered. The kernel counts per CPU in an array indexed by cause.

macro_rules! causes {
    ($($(#[$meta:meta])* $name:ident = $value:literal => $label:literal,)*) => {
        /// A reason for loss; the kernel's counter array is indexed by it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum LossCause { $($(#[$meta])* $name = $value,)* }

        impl LossCause {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
            pub const COUNT: u32 = Self::ALL.len() as u32;

            /// The name users see.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }
        }
    };
}

causes! {
    /// The ring had no room: bytes of a write were not delivered.
    RingFull = 0 => "ring-full",
    /// The program's memory could not be read at the probe (page not present).
    UnreadableMemory = 1 => "unreadable-memory",
    /// A write was longer than the capture limit: its tail was not delivered.
    WriteTruncated = 2 => "write-truncated",
    /// No memory for the state of a connection: its bytes were not delivered.
    SocketNotTracked = 3 => "socket-not-tracked",
    /// A table for TLS state was full.
    TlsStateFull = 4 => "tls-state-full",
    /// `SSL_sendfile` handed a file to kernel TLS: its bytes are not read at the TLS call.
    SslSendfile = 5 => "ssl-sendfile",
    /// A write could not be judged to its end before it left (too long, unreadable, or no rules yet); it passed.
    NotJudged = 6 => "not-judged",
    /// More was answered on accepted connections than `response_budget` allows to look at: packets or TLS writes not delivered.
    ResponsesOverBudget = 7 => "responses-over-budget",
}
