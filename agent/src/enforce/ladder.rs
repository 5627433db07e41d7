//! What refuses TLS writes: the best method that the kernel takes, or the one that was asked for. Plaintext of TCP and datagrams
//! are refused at their sockets, whatever this is.

use super::Method;
use crate::loader::{Kernel, LoadError, brief};

/// From the best to the last resort, which is taken by nobody who does not ask for it.
pub const RUNGS: [Method; 3] = [Method::ReturnOverride, Method::SkMsg, Method::Signal];

#[derive(Debug, thiserror::Error)]
pub enum LadderError {
    #[error(
        "this kernel does not take `--enforcement {method}`: {why}; leave it out, and the best method that the kernel takes is \
         used: `keymoat doctor` says which"
    )]
    Refused { method: Method, why: String },
}

/// Has the kernel verify programs until it takes some, and uses those. Nothing is attached.
///
/// # Errors
/// When it refuses what was `wanted`, or even the base of the ladder.
pub fn choose(kernel: &mut Kernel, wanted: Option<Method>) -> Result<Method, LadderError> {
    let refused = |method, error: LoadError| LadderError::Refused { method, why: brief(&error) };
    if let Some(method) = wanted {
        return kernel.use_rung(method).map(|()| method).map_err(|error| refused(method, error));
    }
    match kernel.use_rung(Method::ReturnOverride) {
        Ok(()) => return Ok(Method::ReturnOverride),
        Err(error) => tracing::debug!("no return-override: {}", brief(&error)),
    }
    kernel.use_rung(Method::SkMsg).map(|()| Method::SkMsg).map_err(|error| refused(Method::SkMsg, error))
}
