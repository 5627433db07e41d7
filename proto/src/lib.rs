//! The gRPC contract between agent and collector.
//!
//! The `.proto` files are the contract and its documentation; this crate is what is generated from them, and the
//! bounds both sides keep to. `contract.txt` pins every field number: a test compares.

pub mod limits;

pub use prost::Message;

/// Package `keymoat.v1`.
#[allow(clippy::all, clippy::allow_attributes_without_reason, reason = "generated")]
pub mod v1 {
    tonic::include_proto!("keymoat.v1");
}
