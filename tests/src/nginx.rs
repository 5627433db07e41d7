//! nginx, as people run it: a server of files over TLS in the other network, or a proxy on this host that asks a server there.

use crate::net::Net;
use crate::{child, env, pki};
use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

/// A running nginx; it ends with this.
#[derive(Debug)]
pub struct Nginx {
    pub port: u16,
    child: Child,
}

impl Nginx {
    /// Serves the files of a folder over TLS, in the other network.
    pub fn of_files(folder: &Path) -> Self {
        let (certificate, key) = pki::server_files();
        let server = format!(
            "ssl; ssl_certificate {}; ssl_certificate_key {}; root {};",
            certificate.display(),
            key.display(),
            folder.display()
        );
        Self::start(|nginx| Net::shared().command(nginx), Net::shared().v4.into(), "", &server)
    }

    /// Serves them in the clear.
    pub fn of_files_in_the_clear(folder: &Path) -> Self {
        let server = format!("; root {};", folder.display());
        Self::start(|nginx| Net::shared().command(nginx), Net::shared().v4.into(), "", &server)
    }

    /// Asks a server over TLS, by this name, for whatever it is asked for over loopback.
    pub fn proxy_of(server: &crate::Server, name: &str) -> Self {
        let location = format!(
            "; location / {{ proxy_pass https://{}; proxy_ssl_server_name on; proxy_ssl_name {}; proxy_ssl_verify on; \
             proxy_ssl_trusted_certificate {}; proxy_http_version 1.1; }}",
            server.address(),
            name,
            pki::authority().display()
        );
        Self::start(|nginx| Command::new(nginx), [127, 0, 0, 1].into(), "", &location)
    }

    /// Asks what listens on this port in the other network, in the clear, over connections that it keeps.
    pub fn keeping_proxy_of(port: u16) -> Self {
        let upstream = format!("upstream kept {{ server {}:{port}; keepalive 4; }}", Net::shared().v4);
        let location = "; location / { proxy_pass http://kept; proxy_http_version 1.1; proxy_set_header Connection ''; }";
        Self::start(|nginx| Command::new(nginx), [127, 0, 0, 1].into(), &upstream, location)
    }

    /// `listen` begins with what stands behind the address in nginx' `listen`; `upstream` stands beside the server.
    fn start(command: impl Fn(&Path) -> Command, ip: std::net::IpAddr, upstream: &str, listen: &str) -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(18_443);
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = env::fresh_dir("nginx");
        let own = |name: &str| format!("{name}_temp_path {}/{name};", folder.display());
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(own).concat();
        let text = format!(
            "daemon off; user root; pid {folder}/pid; error_log {folder}/errors;\nevents {{}}\nhttp {{ {temporary} types {{ text/html html; }} access_log off; {upstream} \
             server {{ listen {ip}:{port} {listen} }} }}\n",
            folder = folder.display(),
        );
        let configuration = env::temp_file("nginx.conf", text.as_bytes());
        let mut command = command(&env::tool("nginx"));
        command.arg("-c").arg(configuration).arg("-p").arg(&folder);
        let child = command.stdin(Stdio::null()).spawn().expect("start nginx");
        let mut this = Self { port, child };
        child::wait_until_it_listens(&mut this.child, (ip, port).into(), env::seconds(15.0));
        this
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            let _gone = kill_process(pid, Signal::TERM);
        }
        // Its workers end with it when it is asked.
        let _status = child::wait(&mut self.child, env::seconds(10.0));
    }
}
