//! The listener of the console: accepts, speaks TLS where it is declared, and hands requests to the routes behind the guard.

use std::{io, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{get, post},
};
use exeat_pipeline::Gate;
use exeat_types::limits;
use http::Request;
use hyper::{
    body::Incoming,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Notifier, Operator, PublicOrigin, api, assets,
    export::Exports,
    guard,
    guest::{self, Guest, Lobby, Patient},
    pages,
    session::Sessions,
    sign_in::{self, Ceremonies, Codes},
    site::Site,
};

/// Connections at a time. Each page keeps one for its events.
const CONNECTIONS_MAX: usize = 256;
/// Bytes of a request's body.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// How long accepting rests when no descriptor is to be had.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long answers may take to end when the console does.
const DRAIN: Duration = Duration::from_secs(2);

/// What a console is made of.
pub struct Parts {
    /// The gate that it shows.
    pub gate: Arc<Gate>,
    /// What it cannot know by itself.
    pub operator: Arc<dyn Operator>,
    /// What tells people that a question waits.
    pub notifier: Arc<Notifier>,
    /// The URL it is reached under.
    pub origin: PublicOrigin,
    /// One-time codes for new passkeys.
    pub codes: Arc<Codes>,
    /// Its sockets.
    pub listeners: Vec<std::net::TcpListener>,
    /// TLS, where it is declared.
    pub tls: Option<Arc<ServerConfig>>,
}

/// Serves the console until told to stop.
///
/// # Errors
/// When the socket cannot be used.
pub fn serve(parts: Parts, tasks: &TaskTracker, stop: &CancellationToken) -> io::Result<()> {
    let listeners = parts.listeners.into_iter().map(TcpListener::from_std);
    let listeners = listeners.collect::<io::Result<Vec<_>>>()?;
    let site = Arc::new(Site {
        sessions: Sessions::new(&parts.origin),
        codes: parts.codes,
        ceremonies: Ceremonies::default(),
        gate: parts.gate,
        operator: parts.operator,
        origin: parts.origin,
        notifier: parts.notifier,
        exports: Exports::default(),
        tasks: tasks.clone(),
        stop: stop.clone(),
    });
    let door = Door {
        router: routes(&site),
        tls: parts.tls.map(TlsAcceptor::from),
        stop: stop.clone(),
        room: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        lobby: Arc::default(),
    };
    let door = Arc::new(door);
    for listener in listeners {
        let (door, inner) = (Arc::clone(&door), tasks.clone());
        tasks.spawn(async move { accept(listener, door, &inner).await });
    }
    Ok(())
}

fn routes(site: &Arc<Site>) -> Router {
    Router::new()
        .route("/assets/{version}/{name}", get(assets::serve))
        .route("/sign-out", post(pages::sign_out))
        .merge(pages::routes())
        .merge(sign_in::routes())
        .merge(api::routes())
        .fallback(pages::nowhere)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(guest::welcome))
        .layer(middleware::from_fn_with_state(
            Arc::clone(site),
            guard::guard,
        ))
        .layer(middleware::from_fn(guest::in_time))
        .with_state(Arc::clone(site))
}

struct Door {
    router: Router,
    tls: Option<TlsAcceptor>,
    stop: CancellationToken,
    /// Of every listener together.
    room: Arc<Semaphore>,
    lobby: Arc<Lobby>,
}

async fn accept(listener: TcpListener, door: Arc<Door>, tasks: &TaskTracker) {
    loop {
        let accepted = tokio::select! {
            () = door.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(place) = Arc::clone(&door.room).try_acquire_owned() else {
            continue;
        };
        let door = Arc::clone(&door);
        tasks.spawn(async move {
            let guest = door.lobby.enter();
            tokio::select! {
                () = guest.gone.cancelled() => tracing::debug!("a stranger made room"),
                () = door.attend(stream, &guest) => {}
            }
            door.lobby.leave(&guest);
            drop(place);
        });
    }
}

impl Door {
    async fn attend(&self, stream: TcpStream, guest: &Arc<Guest>) {
        let stream = Patient::new(stream);
        let Some(tls) = &self.tls else {
            return self.speak(stream, guest).await;
        };
        match timeout(limits::HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.speak(stream, guest).await,
            Ok(Err(error)) => tracing::debug!(%error, "a browser could not begin TLS"),
            Err(_late) => tracing::debug!("a browser did not begin TLS in time"),
        }
    }

    async fn speak(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        guest: &Arc<Guest>,
    ) {
        let router = TowerToHyperService::new(self.router.clone());
        let answer = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Arc::clone(guest));
            router.call(request)
        });
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(limits::HEAD_TIMEOUT);
        let connection = builder.serve_connection(TokioIo::new(stream), answer);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                timeout(DRAIN, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a browser went away");
        }
    }
}
