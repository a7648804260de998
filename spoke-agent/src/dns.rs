//! The domain of the fleet's services, answered over UDP and TCP to whoever asks (RFC 1035, RFC 7766).
mod message;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use axle_core::service::dns::{Answer, Asked};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Semaphore,
    time::timeout,
};

use crate::{problems::Problems, tasks::Tasks};
use message::{Transport, answer};

/// The longest question that is read: real ones have fewer than 300 bytes.
const LONGEST_QUESTION: usize = 4_096;
/// Connections at a time.
const CONNECTIONS: usize = 64;
/// How long a connection may take for its next question, and for taking its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it takes until an address is tried again that could not be had.
const AGAIN: Duration = Duration::from_secs(5);
/// The rest after an error of the system.
const REST: Duration = Duration::from_millis(50);

/// What a name has; `None` while nobody knows yet.
pub type Resolve = Arc<dyn Fn(&str, Asked) -> Option<Answer> + Send + Sync>;

/// Answers at all of these addresses for ever. One that cannot be had, or not yet, is a problem: nothing else waits for it.
pub async fn keep_serving(mut addresses: Vec<SocketAddr>, resolve: Resolve, problems: Problems) {
    let mut serving = Tasks::default();
    loop {
        let (mut missing, mut why) = (Vec::new(), Vec::new());
        for address in addresses {
            if let Err(error) = serve(address, resolve.clone(), &mut serving).await {
                missing.push(address);
                why.push(format!("{error:#}"));
            }
        }
        problems.set("names", why);
        if missing.is_empty() {
            serving.ended().await;
            return;
        }
        addresses = missing;
        tokio::time::sleep(AGAIN).await;
    }
}

/// Answers at this address, and says which it is.
///
/// # Errors
/// If it cannot be listened at.
async fn serve(address: SocketAddr, resolve: Resolve, tasks: &mut Tasks) -> anyhow::Result<SocketAddr> {
    let fault = || format!("--dns-listen {address}: name a free address of this machine");
    let listener = TcpListener::bind(address).await.with_context(fault)?;
    let address = listener.local_addr().with_context(fault)?;
    let socket = UdpSocket::bind(address).await.with_context(fault)?;
    tasks.spawn("names over UDP", datagrams(socket, resolve.clone()));
    tasks.spawn("names over TCP", connections(listener, resolve));
    tracing::info!(%address, "the names of the fleet's services are answered");
    Ok(address)
}

async fn datagrams(socket: UdpSocket, resolve: Resolve) {
    let mut question = vec![0; LONGEST_QUESTION];
    loop {
        let Ok((length, asker)) = socket.recv_from(&mut question).await else {
            tokio::time::sleep(REST).await;
            continue;
        };
        if let Some(answer) = answer(&question[..length], Transport::Datagram, &*resolve) {
            // Who does not get it asks again.
            let _ = socket.send_to(&answer, asker).await;
        }
    }
}

async fn connections(listener: TcpListener, resolve: Resolve) {
    let turns = Arc::new(Semaphore::new(CONNECTIONS));
    while let Ok(turn) = turns.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let resolve = resolve.clone();
                tokio::spawn(async move {
                    // What goes wrong on a connection ends it.
                    let _ = questions(stream, &resolve).await;
                    drop(turn);
                });
            }
            Err(_) => tokio::time::sleep(REST).await,
        }
    }
}

/// One question after the other, each with its length before it.
async fn questions(mut stream: TcpStream, resolve: &Resolve) -> std::io::Result<()> {
    loop {
        let length = usize::from(timeout(PATIENCE, stream.read_u16()).await??);
        if length > LONGEST_QUESTION {
            return Ok(());
        }
        let mut question = vec![0; length];
        timeout(PATIENCE, stream.read_exact(&mut question)).await??;
        let Some(answer) = answer(&question, Transport::Stream, &**resolve) else { return Ok(()) };
        let Ok(length) = u16::try_from(answer.len()) else { return Ok(()) };
        let framed = [&length.to_be_bytes()[..], &answer].concat();
        timeout(PATIENCE, stream.write_all(&framed)).await??;
    }
}

#[cfg(test)]
mod tests;
