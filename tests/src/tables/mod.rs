//! The tables of clients and of calls, for the suites that look on and those that refuse.

mod calls;
mod http1;
mod protocols;
