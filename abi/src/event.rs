//! Ring records: a [`Header`], then the struct its `kind` names, then (for [`Data`]) the payload.
//!
//! The kernel reserves ring space in a few fixed sizes, so a record can be followed by slack:
//! `Header::size` says where it really ends.

/// Declares a ring struct: C layout, and for the agent the traits that let bytes become it safely.
macro_rules! ring_struct {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$fmeta:meta])* pub $field:ident: $ty:ty,)* } size $size:literal) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug)]
        #[cfg_attr(
            feature = "user",
            derive(
                zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout
            )
        )]
        #[repr(C)]
        pub struct $name { $($(#[$fmeta])* pub $field: $ty,)* }
        const _: () = assert!(core::mem::size_of::<$name>() == $size);
        const _: () = assert!(core::mem::align_of::<$name>() <= 8);
    };
}

/// What a ring record is: the value of [`Header::kind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// Bytes a program is about to send.
    Data = 1,
    /// A TLS connection object was seen to write to a socket.
    Link = 2,
    /// A TCP connection that had sent something is gone.
    Close = 3,
    /// A write of a TLS connection was refused.
    Refusal = 4,
}

impl Kind {
    pub const fn from_u32(value: u32) -> Option<Self> {
        match value {
            1 => Some(Self::Data),
            2 => Some(Self::Link),
            3 => Some(Self::Close),
            4 => Some(Self::Refusal),
            _ => None,
        }
    }
}

/// Where the bytes of a [`Data`] record were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Source {
    /// Bytes of a TCP connection.
    Tcp = 1,
    /// A UDP datagram.
    Udp = 2,
    /// Plaintext given to OpenSSL or BoringSSL.
    OpenSsl = 3,
    /// Plaintext given to GnuTLS.
    GnuTls = 4,
}

impl Source {
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            1 => Some(Self::Tcp),
            2 => Some(Self::Udp),
            3 => Some(Self::OpenSsl),
            4 => Some(Self::GnuTls),
            _ => None,
        }
    }

    pub const fn is_tls(self) -> bool {
        matches!(self, Self::OpenSsl | Self::GnuTls)
    }
}

/// Flags of [`Data::flags`].
pub mod flags {
    /// The write was longer than what is captured of one write; the rest is missing.
    pub const TRUNCATED: u8 = 1;
    /// The same thread offered the same buffer before and no socket write took it: this is either a retry
    /// (`WANT_WRITE`) or one library function calling another. Equal bytes mean it is not new data.
    pub const MAYBE_RETRY: u8 = 2;
    /// The bytes begin with a TLS ClientHello.
    pub const CLIENT_HELLO: u8 = 4;
    /// These bytes were refused: they did not leave. `Data::rule` says why.
    pub const REFUSED: u8 = 8;
    /// They were refused as a packet, which the kernel sends again in vain; the call that wrote them got no error.
    pub const AS_PACKET: u8 = 16;
    /// With [`REFUSED`]: and the process that wrote them was killed.
    pub const KILLED: u8 = 32;
}

/// Flags of [`Tuple::flags`].
pub mod tuple_flags {
    /// This host accepted the connection (a server's responses) instead of opening it.
    pub const ACCEPTED: u8 = 1;
    /// The remote address is this very host (127.0.0.0/8, ::1, or equal to the local address).
    pub const LOOPBACK: u8 = 2;
    /// This host opened the connection, and the agent saw it.
    pub const OPENED: u8 = 4;
    /// Its messages are not judged, its packets are: see `Config::unread_hidden`.
    pub const PACKETS_ONLY: u8 = 8;
}

ring_struct! {
    /// First bytes of every ring record.
    pub struct Header {
        /// A [`Kind`].
        pub kind: u32,
        /// Bytes of this record that mean something, this header included.
        pub size: u32,
    }
    size 8
}

ring_struct! {
    /// A connection's two ends. IPv4 addresses are mapped (`::ffff:a.b.c.d`). All zero when not known.
    pub struct Tuple {
        pub local: [u8; 16],
        pub remote: [u8; 16],
        /// Host byte order.
        pub local_port: u16,
        /// Host byte order.
        pub remote_port: u16,
        /// See [`tuple_flags`].
        pub flags: u8,
        /// 1 when the addresses are filled in.
        pub known: u8,
        pub reserved: [u8; 2],
    }
    size 40
}

ring_struct! {
    /// Some or all bytes of one write. `len` bytes of payload follow the struct.
    pub struct Data {
        pub header: Header,
        /// Bytes of payload in this record.
        pub len: u32,
        /// Position of this record among the records of one write, from 0.
        pub chunk: u32,
        /// Bytes of the whole write (for TCP and UDP: of the packet), captured or not.
        pub total: u64,
        /// Position in the stream of this record's first byte: bytes sent earlier on this connection.
        pub offset: u64,
        /// Socket cookie; 0 when the socket is not known (yet).
        pub cookie: u64,
        /// Address of the TLS library's connection object (`SSL *`, `gnutls_session_t`); 0 for socket bytes.
        pub context: u64,
        /// `tgid << 32 | tid` of the writer; for TCP, of who opened the connection (or first sent on it).
        pub pid_tgid: u64,
        /// `CLOCK_MONOTONIC`, nanoseconds.
        pub time_ns: u64,
        pub tuple: Tuple,
        pub uid: u32,
        /// A [`Source`].
        pub source: u8,
        /// See [`flags`].
        pub flags: u8,
        /// Of refused bytes: the number of the rule whose key they carry.
        pub rule: u16,
        /// The thread's name, NUL-padded; empty when a packet left on another task than its sender's.
        pub comm: [u8; 16],
    }
    size 128
}

ring_struct! {
    /// TLS records written by `context` of this process travel on socket `cookie`.
    /// Written again only when the pair changes.
    pub struct Link {
        pub header: Header,
        pub cookie: u64,
        pub context: u64,
        pub pid_tgid: u64,
        pub time_ns: u64,
        pub tuple: Tuple,
    }
    size 80
}

/// Why a write was refused that the agent is shown nothing of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Why {
    /// It carries the record of plaintext with a key in it.
    Key = 0,
    /// It carries TLS of a library without probes. This and what follows: `strict` only.
    UnseenTls = 1,
    /// It belongs to a TLS connection older than the agent.
    OldConnection = 2,
    /// Its bytes could not be read, or nothing was left to look for keys with.
    NotJudged = 3,
    /// It begins a QUIC connection.
    Quic = 4,
    /// It would open a socket whose packets pass no other program.
    PacketSocket = 5,
}

impl Why {
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::Key),
            1 => Some(Self::UnseenTls),
            2 => Some(Self::OldConnection),
            3 => Some(Self::NotJudged),
            4 => Some(Self::Quic),
            5 => Some(Self::PacketSocket),
            _ => None,
        }
    }
}

ring_struct! {
    /// A write did not leave: the record of plaintext that `context` of this process was given from `offset` on, or one that
    /// cannot be inspected.
    pub struct Refusal {
        pub header: Header,
        pub cookie: u64,
        pub context: u64,
        pub pid_tgid: u64,
        pub time_ns: u64,
        /// Position in the plaintext where the write began that carries the key.
        pub offset: u64,
        pub tuple: Tuple,
        /// The number of the rule whose key it carries.
        pub rule: u32,
        /// See [`Why`].
        pub why: u8,
        /// 1: it was refused as a packet (see [`flags::AS_PACKET`]).
        pub as_packet: u8,
        pub reserved: [u8; 2],
    }
    size 96
}

ring_struct! {
    /// The connection with this cookie is closed; no more data of it will come.
    pub struct Close {
        pub header: Header,
        pub cookie: u64,
        pub time_ns: u64,
    }
    size 24
}

impl Data {
    /// Process id (thread group id) of the writer.
    pub const fn tgid(&self) -> u32 {
        (self.pid_tgid >> 32) as u32
    }

    pub const fn tid(&self) -> u32 {
        self.pid_tgid as u32
    }
}

impl Link {
    pub const fn tgid(&self) -> u32 {
        (self.pid_tgid >> 32) as u32
    }
}

impl Refusal {
    pub const fn tgid(&self) -> u32 {
        (self.pid_tgid >> 32) as u32
    }
}

impl Tuple {
    pub const UNKNOWN: Self = Self {
        local: [0; 16],
        remote: [0; 16],
        local_port: 0,
        remote_port: 0,
        flags: 0,
        known: 0,
        reserved: [0; 2],
    };

    pub const fn is_known(&self) -> bool {
        self.known != 0
    }

    pub const fn is_loopback(&self) -> bool {
        self.flags & tuple_flags::LOOPBACK != 0
    }

    pub const fn is_accepted(&self) -> bool {
        self.flags & tuple_flags::ACCEPTED != 0
    }
}
