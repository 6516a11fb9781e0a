//! The baseline: Pingora as a plain TLS reverse proxy that adds one header, as its documentation shows it.

use std::net::SocketAddr;

use anyhow::Context as _;
use async_trait::async_trait;
use pingora::{
    Result,
    http::RequestHeader,
    proxy::{ProxyHttp, Session, http_proxy_service},
    server::{Server, configuration::ServerConf},
    upstreams::peer::HttpPeer,
};

use crate::site::{NAME, Site};

struct Plain {
    upstream: SocketAddr,
}

#[async_trait]
impl ProxyHttp for Plain {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(
            self.upstream,
            true,
            NAME.to_owned(),
        )))
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        request: &mut RequestHeader,
        _: &mut (),
    ) -> Result<()> {
        request.insert_header("authorization", "Bearer some-fixed-token")?;
        Ok(())
    }
}

/// Serves until killed; prints its address.
#[expect(clippy::print_stdout, reason = "the parent reads the address")]
pub(crate) fn run(site: &Site) -> anyhow::Result<()> {
    let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let conf = ServerConf {
        threads: 2,
        ca_file: Some(site.file("root.pem").to_string_lossy().into_owned()),
        upstream_keepalive_pool_size: 512,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut service = http_proxy_service(
        &server.configuration,
        Plain {
            upstream: site.upstream,
        },
    );
    let file = |name: &str| site.file(name).to_string_lossy().into_owned();
    service
        .add_tls(&address.to_string(), &file("up.pem"), &file("up.key"))
        .ok()
        .context("TLS for the baseline")?;
    server.add_service(service);
    println!("{address}");
    server.run_forever()
}
