//! The accept loop.
use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::{Service, ServiceExt as _, service_fn};

use super::{
    ExpiredPeer, Guard, Limits,
    crowd::{Crowd, Place, home},
    flight::{InFlight, Requests},
};
use crate::{
    pki::Peer,
    tls::{Caller, FRAME, ServerTls, WRITE},
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The kernel's queue of connections not yet accepted: a herd that reconnects fits in.
const BACKLOG: i32 = 4096;

/// Listens at `address`; port 0 takes a free one.
///
/// # Errors
/// When the address cannot be had; the error names it.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listen = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    listen().map_err(|why| io::Error::new(why.kind(), format!("cannot listen at {address}: {why}")))
}

/// A server of gRPC and HTTP, 1 and 2, on one port. With TLS, every request of an authenticated connection carries its
/// [`Peer`] (or [`ExpiredPeer`]) in its extensions, and the caller's [`SocketAddr`] in any case.
#[derive(Debug, Clone)]
pub struct Acceptor {
    tls: Option<ServerTls>,
    guard: Arc<Guard>,
    limits: Limits,
}

/// Who waits for what.
struct Turns {
    handshakes: Semaphore,
    strangers: Arc<Crowd<IpAddr>>,
    peers: Arc<Crowd<[u8; 32]>>,
}

/// Why a connection must end.
enum Over {
    /// Its peer may not be here, or asks too much.
    Refused(String),
    /// Nobody uses it.
    Idle,
}

impl Acceptor {
    /// A server with TLS whose peers `guard` watches.
    #[must_use]
    pub fn new(tls: ServerTls, guard: Arc<Guard>, limits: Limits) -> Self {
        Self { tls: Some(tls), guard, limits }
    }

    /// A server without TLS: for loopback and metrics only. It knows no peers.
    #[must_use]
    pub fn plain(limits: Limits) -> Self {
        let guard = Guard::new(|_| Err("there are no peers without TLS".into()));
        Self { tls: None, guard: Arc::new(guard), limits }
    }

    /// Serves until `stop`, then lets requests in flight end within the limit for draining.
    pub async fn serve<S, B>(self, listener: TcpListener, service: S, stop: CancellationToken)
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let connections = Arc::new(Semaphore::new(self.limits.connections));
        let turns = Arc::new(Turns {
            handshakes: Semaphore::new(self.limits.handshakes),
            strangers: Crowd::new(self.limits.strangers),
            peers: Crowd::new(self.limits.of_one_peer),
        });
        let tasks = TaskTracker::new();
        let cut = CancellationToken::new();
        let server = Arc::new(self);
        loop {
            let accepted = async {
                let place = connections.clone().acquire_owned().await;
                (place, listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                () = stop.cancelled() => break,
                accepted = accepted => accepted,
            };
            let (stream, from) = match accepted {
                Ok(accepted) => accepted,
                Err(why) => {
                    // Out of descriptors, most likely: one refused accept must not become a busy loop.
                    tracing::warn!(%why, "cannot accept a connection");
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Some(stranger) = turns.strangers.enter(home(from.ip()), from) else { continue };
            let (server, service, turns) = (server.clone(), service.clone(), turns.clone());
            let (stop, cut) = (stop.clone(), cut.clone());
            tasks.spawn(async move {
                tokio::select! {
                    () = server.connection(stream, (from, stranger), service, &turns, &stop) => {}
                    () = cut.cancelled() => {}
                }
                drop(place);
            });
        }
        drop(listener);
        tasks.close();
        if timeout(server.limits.drain, tasks.wait()).await.is_err() {
            cut.cancel();
            tasks.wait().await;
        }
    }

    async fn connection<S, B>(
        &self,
        stream: TcpStream,
        (from, stranger): (SocketAddr, Place<IpAddr>),
        service: S,
        turns: &Turns,
        stop: &CancellationToken,
    ) where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        if let Err(why) = stream.set_nodelay(true) {
            tracing::debug!(%from, %why, "connection lost");
            return;
        }
        let Some(tls) = &self.tls else {
            return self.http(stream, from, Caller::Anonymous, service, stop).await;
        };
        let mut stream = match self.handshake(tls, stream, &turns.handshakes).await {
            Ok(stream) => stream,
            Err(why) => return tracing::debug!(%from, %why, "TLS handshake failed"),
        };
        let session = stream.get_mut().1;
        session.set_buffer_limit(Some(WRITE));
        let caller = match tls.caller(session.peer_certificates()) {
            Ok(caller) => caller,
            Err(why) => return tracing::debug!(%from, %why, "certificate refused"),
        };
        let _place = match &caller {
            Caller::Anonymous => (Some(stranger), None),
            Caller::Known(peer) | Caller::Expired(peer) => {
                drop(stranger);
                let Some(place) = turns.peers.enter(peer.key, &peer.principal) else { return };
                (None, Some(place))
            }
        };
        self.http(stream, from, caller, service, stop).await;
    }

    /// A turn is for who has said hello, and only for as long as it costs anything.
    async fn handshake(
        &self,
        tls: &ServerTls,
        stream: TcpStream,
        handshakes: &Semaphore,
    ) -> io::Result<TlsStream<TcpStream>> {
        let patience = self.limits.handshake_timeout;
        let hello = timeout(patience, LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream)).await??;
        let turn = handshakes.acquire().await.map_err(io::Error::other)?;
        let mut accept = pin!(hello.into_stream(tls.config.clone()));
        match timeout(self.limits.turn, accept.as_mut()).await {
            Ok(done) => done,
            Err(_) => {
                drop(turn);
                timeout(patience, accept).await?
            }
        }
    }

    async fn http<I, S, B>(&self, io: I, from: SocketAddr, caller: Caller, service: S, stop: &CancellationToken)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let requests = Arc::<Requests>::default();
        let (marked, counted) = (caller.clone(), requests.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            let flight = counted.begin();
            request.extensions_mut().insert(from);
            match &marked {
                Caller::Anonymous => {}
                Caller::Known(peer) => drop(request.extensions_mut().insert(peer.clone())),
                Caller::Expired(peer) => drop(request.extensions_mut().insert(ExpiredPeer(peer.clone()))),
            }
            let answer = service.clone().oneshot(request);
            async move { Ok::<_, Infallible>(answer.await?.map(|body| InFlight::new(body, flight))) }
        });
        let builder = self.builder();
        let mut connection = pin!(builder.serve_connection(TokioIo::new(io), TowerToHyperService::new(service)));
        let mut over = pin!(self.watch(&caller, &requests));
        let mut stopping = false;
        loop {
            tokio::select! {
                biased;
                why = over.as_mut() => match why {
                    Over::Refused(why) => return tracing::info!(%from, %why, "connection closed"),
                    Over::Idle => {
                        tracing::debug!(%from, "connection closed: it was idle");
                        connection.as_mut().graceful_shutdown();
                        // Who does not answer to that is hung up on.
                        return drop(timeout(self.limits.drain, connection).await);
                    }
                },
                ended = connection.as_mut() => {
                    if let Err(why) = ended {
                        tracing::debug!(%from, %why, "connection ended");
                    }
                    return;
                }
                () = stop.cancelled(), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }

    /// Ends when the connection must; the first look is before the first request.
    async fn watch(&self, caller: &Caller, requests: &Requests) -> Over {
        let since = Instant::now();
        let (mut window, mut used) = ((since, 0), (since, 0));
        loop {
            let peer: Option<(&Peer, bool)> = match caller {
                Caller::Anonymous => None,
                Caller::Known(peer) => Some((peer, false)),
                Caller::Expired(peer) => Some((peer, true)),
            };
            if let Some((peer, expired)) = peer
                && let Err(why) = self.guard.admits(peer, expired, since.elapsed(), SystemTime::now())
            {
                return Over::Refused(format!("{}: {why}", peer.principal));
            }
            let now = requests.begun();
            if now - window.1 > self.limits.requests {
                return Over::Refused(format!("more than {} requests in a second", self.limits.requests));
            }
            if !requests.rest() || now != used.1 {
                used = (Instant::now(), now);
            } else if used.0.elapsed() >= self.limits.idle {
                return Over::Idle;
            }
            if window.0.elapsed() >= Duration::from_secs(1) {
                window = (Instant::now(), now);
            }
            sleep(self.limits.recheck).await;
        }
    }

    fn builder(&self) -> auto::Builder<TokioExecutor> {
        let limits = &self.limits;
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.handshake_timeout)
            .max_buf_size(limits.header_bytes as usize);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams)
            .max_pending_accept_reset_streams(limits.reset_streams)
            .max_local_error_reset_streams(limits.reset_streams)
            .max_header_list_size(limits.header_bytes)
            // What a peer that does not read costs at most, beside as much in TLS.
            .max_send_buf_size(FRAME)
            .keep_alive_interval(limits.keepalive)
            .keep_alive_timeout(limits.keepalive_timeout);
        builder
    }
}
