//! A TCP relay between both ends that cuts or swallows what is under way.
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp},
    sync::watch,
};

/// Connections that are made through it get the fate that holds when they are made, or later.
pub(crate) struct Wire {
    pub(crate) address: SocketAddr,
    fate: watch::Sender<Fate>,
    connections: Arc<AtomicUsize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Fate {
    /// Connections made before this one are cut.
    cut: usize,
    /// Connections made before this one forward nothing, and stay open.
    swallow: usize,
    /// Each new connection is cut after this many bytes in one direction.
    after: Option<usize>,
}

impl Wire {
    pub(crate) async fn to(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (fate, watched) = watch::channel(Fate::default());
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        tokio::spawn(async move {
            while let Ok((down, _)) = listener.accept().await {
                let number = count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(connection(number, down, upstream, watched.clone()));
            }
        });
        Self { address, fate, connections }
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Cuts every connection there is.
    pub(crate) fn cut(&self) {
        let made = self.connections();
        self.fate.send_modify(|fate| fate.cut = made);
    }

    /// From now on nothing comes through the connections there are, though they stay open.
    pub(crate) fn swallow(&self) {
        let made = self.connections();
        self.fate.send_modify(|fate| fate.swallow = made);
    }

    /// Cuts each later connection after so many bytes of one direction.
    pub(crate) fn cut_after(&self, bytes: Option<usize>) {
        self.fate.send_modify(|fate| fate.after = bytes);
    }
}

async fn connection(number: usize, down: TcpStream, upstream: SocketAddr, fate: watch::Receiver<Fate>) {
    let Ok(up) = TcpStream::connect(upstream).await else { return };
    let after = fate.borrow().after;
    let ((down_read, down_write), (up_read, up_write)) = (down.into_split(), up.into_split());
    // Whichever direction ends first ends both.
    tokio::select! {
        () = pump(number, after, down_read, up_write, fate.clone()) => {}
        () = pump(number, after, up_read, down_write, fate) => {}
    }
}

async fn pump(
    number: usize,
    after: Option<usize>,
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    mut fate: watch::Receiver<Fate>,
) {
    let (mut buffer, mut passed) = (vec![0; 16 << 10], 0);
    loop {
        let now = *fate.borrow_and_update();
        if number < now.cut {
            return;
        }
        let read = tokio::select! {
            changed = fate.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            read = from.read(&mut buffer), if number >= now.swallow => read,
        };
        let Ok(len @ 1..) = read else { return };
        let allowed = after.map_or(len, |limit| len.min(limit.saturating_sub(passed)));
        if to.write_all(&buffer[..allowed]).await.is_err() || allowed < len {
            return;
        }
        passed += len;
    }
}
