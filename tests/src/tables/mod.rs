//! The tables of clients, for the suites that look on and those that refuse.

mod http1;
mod protocols;
