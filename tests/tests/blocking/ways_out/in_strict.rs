//! What block mode lets pass, tried again in `strict` mode.

use super::Way;
use keymoat_tests::calls::note;
use keymoat_tests::commands::one as one_request;
use keymoat_tests::programs::{km_client, km_rustls};
use keymoat_tests::threat_model::{Expected, Outcome};
use keymoat_tests::{Agent, Client, FakeKey, Net, Server, env, pki};

const NO_LSM: &str = "BPF is not among this kernel's security modules; the agent says so at its start. To do: boot with `lsm=…,bpf`, or \
    give CAP_NET_RAW to nobody";

pub(super) fn ways() -> Vec<Way> {
    vec![
        Way {
            what: "a TLS library without a probe (rustls), strict",
            // Without a key it is refused as well: nobody sees which it is.
            attempt: Box::new(|agent| {
                let server = Server::https();
                let key = FakeKey::anthropic();
                let client = km_rustls(server.address(), pki::HOST, &one_request(Some(&key)));
                let client = Client::start(client).end();
                agent.expect_refusal(client.pid);
                server.assert_never(key.reveal().as_bytes());
                Outcome::Refused
            }),
            expected: Expected::Refused,
        },
        packet_socket(),
    ]
}

/// Refused where the kernel asks BPF programs about sockets.
fn packet_socket() -> Way {
    let has_lsm = env::has_bpf_lsm();
    let attempt = move |agent: &Agent| {
        let (server, key) = (Server::udp(), FakeKey::anthropic());
        let mut client = km_client("packet", server.address(), &note(key.reveal()).save());
        client.arg(format!("link={}", Net::shared().link));
        let client = Client::start(client).end();
        if has_lsm {
            agent.expect_refusal(client.pid);
            server.assert_never(key.reveal().as_bytes());
            return Outcome::Refused;
        }
        server.wait_for(key.reveal().as_bytes());
        Outcome::NotSeen
    };
    let expected = if has_lsm { Expected::Refused } else { Expected::Otherwise(Outcome::NotSeen, NO_LSM) };
    Way { what: "a packet socket (AF_PACKET), strict", attempt: Box::new(attempt), expected }
}
