//! Block mode: what real clients send is refused when it carries a key, and served when it does not.

use keymoat_tests::cases::{Case, Invocation};
use keymoat_tests::commands::*;
use keymoat_tests::programs::{self, Linked};
use keymoat_tests::{Server, http1_clients, pki, protocol_clients, refused};

http1_clients!(refused);
protocol_clients!(refused);
