//! A certificate authority of this process and the certificate all its TLS servers show.

use crate::{env, net::Net};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// A name the servers' certificate is valid for and no rule calls home.
pub const HOST: &str = "leak.keymoat.test";
/// Home of Anthropic keys; tests reach it through `curl --resolve`.
pub const ANTHROPIC: &str = "api.anthropic.com";

struct Pki {
    authority: PathBuf,
    /// The servers' certificate and its key.
    files: (PathBuf, PathBuf),
    root: CertificateDer<'static>,
    server: Arc<ServerConfig>,
    http2: Arc<ServerConfig>,
}

/// PEM file of the authority, for `--cacert` and its like.
pub fn authority() -> &'static Path {
    &pki().authority
}

/// PEM files of the servers' certificate and of its key, for servers that are not ours.
pub fn server_files() -> (&'static Path, &'static Path) {
    let (certificate, key) = &pki().files;
    (certificate, key)
}

/// TLS settings of a server that speaks HTTP/1.1, TLS 1.2 and 1.3.
pub fn server() -> Arc<ServerConfig> {
    Arc::clone(&pki().server)
}

/// The same, for a server that speaks HTTP/2 only.
pub fn http2_server() -> Arc<ServerConfig> {
    Arc::clone(&pki().http2)
}

/// TLS settings of a client that trusts the authority.
pub fn client() -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(pki().root.clone()).expect("own root");
    ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()
}

fn pki() -> &'static Pki {
    static PKI: OnceLock<Pki> = OnceLock::new();
    PKI.get_or_init(|| {
        let net = Net::shared();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "keymoat tests");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"))
            .expect("a certificate authority");

        let names = vec![HOST.to_owned(), ANTHROPIC.to_owned(), "localhost".to_owned()];
        let mut params = CertificateParams::new(names).expect("names");
        let addresses = [net.v4.into(), net.v6.into(), [127, 0, 0, 1].into()];
        params.subject_alt_names.extend(addresses.map(SanType::IpAddress));
        let key = KeyPair::generate().expect("a key");
        let leaf = params.signed_by(&key, &authority).expect("a certificate");

        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut server = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], private)
            .expect("a server configuration");
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        let mut http2 = server.clone();
        http2.alpn_protocols = vec![b"h2".to_vec()];

        let file = env::run_dir().join("authority.pem");
        fs::write(&file, authority.pem()).expect("write the authority");
        let files = (
            env::temp_file("server.pem", leaf.pem().as_bytes()),
            env::temp_file("server.key", key.serialize_pem().as_bytes()),
        );
        Pki {
            authority: file,
            files,
            root: authority.der().clone(),
            server: Arc::new(server),
            http2: Arc::new(http2),
        }
    })
}
