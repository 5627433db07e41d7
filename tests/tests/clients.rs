//! Real clients over HTTP/1.1 and plain sockets: what they send is seen.

use keymoat_tests::cases::{Case, Invocation};
use keymoat_tests::commands::*;
use keymoat_tests::programs::{self, Linked};
use keymoat_tests::{Server, clients, http1_clients, pki};

http1_clients!(clients);
