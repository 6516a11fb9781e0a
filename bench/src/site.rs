//! The site both systems stand in front of: nginx with TLS and a 1 KiB answer, and the certificates around it.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

/// The name that every certificate is for.
pub(crate) const NAME: &str = "up.test";

/// Files and addresses of the site.
pub(crate) struct Site {
    pub(crate) folder: PathBuf,
    pub(crate) upstream: SocketAddr,
}

/// nginx, ended when dropped.
pub(crate) struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Site {
    /// Makes certificates and starts nginx.
    pub(crate) fn make(folder: &Path) -> anyhow::Result<(Self, Nginx)> {
        certificates(folder)?;
        let upstream = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        fs::write(folder.join("upstream"), upstream.to_string())?;
        let body = "x".repeat(1024);
        let shown = folder.display();
        let conf = format!(
            "daemon off; master_process off; worker_processes 1; pid {shown}/nginx.pid; error_log {shown}/nginx.log;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ access_log off; keepalive_requests 100000000; client_body_temp_path {shown}/b;\n\
             proxy_temp_path {shown}/p; fastcgi_temp_path {shown}/f; uwsgi_temp_path {shown}/u; scgi_temp_path {shown}/s;\n\
             server {{ listen {upstream} ssl; ssl_certificate {shown}/up.pem; ssl_certificate_key {shown}/up.key;\n\
             location / {{ default_type application/json; return 200 '{body}'; }} }} }}\n"
        );
        let file = folder.join("nginx.conf");
        fs::write(&file, conf)?;
        let child = Command::new("nginx")
            .arg("-c")
            .arg(&file)
            .stderr(Stdio::null())
            .spawn();
        let nginx = Nginx(child.context("starting nginx; `make setup` installs it")?);
        let until = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(upstream).is_err() {
            if Instant::now() > until {
                bail!(
                    "nginx did not start: {}",
                    fs::read_to_string(folder.join("nginx.log")).unwrap_or_default()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok((
            Self {
                folder: folder.to_owned(),
                upstream,
            },
            nginx,
        ))
    }

    /// Opens a site that the parent made.
    pub(crate) fn open(folder: &Path) -> anyhow::Result<Self> {
        let upstream = fs::read_to_string(folder.join("upstream"))?.parse()?;
        Ok(Self {
            folder: folder.to_owned(),
            upstream,
        })
    }

    /// A file of the site.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Every root that a client of either system has to trust.
    pub(crate) fn roots(&self) -> anyhow::Result<Vec<CertificateDer<'static>>> {
        let mut roots = vec![CertificateDer::from_pem_file(self.file("root.pem"))?];
        if let Ok(gate) = CertificateDer::from_pem_file(self.file("gate.pem")) {
            roots.push(gate);
        }
        Ok(roots)
    }
}

fn certificates(folder: &Path) -> anyhow::Result<()> {
    let mut params = CertificateParams::new(vec![])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    fs::write(folder.join("root.pem"), params.self_signed(&key)?.pem())?;
    let issuer = Issuer::new(params, key);
    let leaf_key = KeyPair::generate()?;
    let leaf = CertificateParams::new(vec![NAME.to_owned()])?.signed_by(&leaf_key, &issuer)?;
    fs::write(folder.join("up.pem"), leaf.pem())?;
    fs::write(folder.join("up.key"), leaf_key.serialize_pem())?;
    Ok(())
}
