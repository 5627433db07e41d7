//! A TLS client keymoat has no probe for: rustls, compiled in.
//!
//!     km-rustls ADDRESS NAME AUTHORITY.pem SCRIPT

use keymoat_tests::Script;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::error::Error;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().ok_or("usage: km-rustls ADDRESS NAME AUTHORITY SCRIPT");
    let (address, name, authority, script) = (next()?, next()?, next()?, next()?);
    let script = Script::parse(&std::fs::read(script)?).ok_or("not a script")?;

    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority)?)?;
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let connection = ClientConnection::new(Arc::new(config), ServerName::try_from(name)?)?;
    let mut stream = StreamOwned::new(connection, TcpStream::connect(address)?);
    for write in script.writes() {
        stream.write_all(write)?;
    }
    stream.conn.send_close_notify();
    stream.flush()?;
    stream.sock.shutdown(Shutdown::Write)?;
    // How the server closes does not matter here.
    drop(stream.sock.read_to_end(&mut Vec::new()));
    Ok(())
}
