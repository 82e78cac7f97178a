//! The reference: nginx as a plain reverse proxy that writes nothing to a disk.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use nix::sys::signal::Signal;
use nix::unistd::Uid;

use crate::processes::Process;

/// A free port may be taken by somebody else before nginx binds it.
const TRIES: usize = 5;
/// In front of the paths at which it passes on what comes, as it comes.
pub const UNBUFFERED: &str = "/unbuffered";

/// A running nginx.
pub struct Nginx {
    pub address: SocketAddr,
    /// The process that does the work.
    pub worker: u32,
    _master: Process,
}

impl Nginx {
    /// Starts it before `upstream`.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(folder: &Path, upstream: SocketAddr, cpu: usize) -> io::Result<Nginx> {
        let mut tried = 1;
        loop {
            match Nginx::try_start(folder, upstream, cpu) {
                Err(_) if tried < TRIES => tried += 1,
                result => return result,
            }
        }
    }

    fn try_start(folder: &Path, upstream: SocketAddr, cpu: usize) -> io::Result<Nginx> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let file = folder.join("nginx.conf");
        fs::write(&file, configuration(folder, address, upstream))?;
        let (prefix, file) = (folder.to_string_lossy(), file.to_string_lossy());
        let arguments = ["-p", &*prefix, "-c", &*file, "-e", "stderr"];
        let output = folder.join("nginx.log");
        let mut master = Process::start("nginx", &arguments, cpu, Signal::SIGTERM, &output)?;
        let worker = master.until("it answered", |master| {
            let pid = master.pid();
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
            let worker = children
                .split_whitespace()
                .next()
                .and_then(|pid| pid.parse().ok());
            Ok(worker.filter(|_| TcpStream::connect(address).is_ok()))
        })?;
        Ok(Nginx {
            address,
            worker,
            _master: master,
        })
    }
}

/// Its version, as `nginx -v` tells it.
///
/// # Errors
/// There is no nginx.
pub fn version() -> io::Result<String> {
    let output = std::process::Command::new("nginx").arg("-v").output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    Ok(said.trim().trim_start_matches("nginx version: ").to_owned())
}

/// Buffers are large enough that neither a prompt nor an answer goes through a file, and connections are kept as
/// long as they live: this is nginx at its best.
fn configuration(folder: &Path, address: SocketAddr, upstream: SocketAddr) -> String {
    let user = if Uid::effective().is_root() {
        "user root;"
    } else {
        ""
    };
    let folder = folder.display();
    format!(
        "{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path {folder}/client_body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  tcp_nodelay on;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  client_max_body_size 64m;
  client_body_buffer_size 1m;
  proxy_max_temp_file_size 0;
  proxy_buffer_size 16k;
  proxy_buffers 32 64k;
  proxy_busy_buffers_size 512k;
  proxy_http_version 1.1;
  proxy_set_header Connection '';
  upstream practice {{
    server {upstream};
    keepalive 2048;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
  }}
  server {{
    listen {address} backlog=4096;
    location / {{ proxy_pass http://practice; }}
    location {UNBUFFERED}/ {{ proxy_pass http://practice/; proxy_buffering off; }}
  }}
}}
"
    )
}
