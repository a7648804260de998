//! The local socket: how commands on the same machine talk to the running agent. One request and one reply a
//! connection, each a line of JSON. Whoever may open the socket (root) may do everything.
mod client;
mod server;

use std::{fs::File, io};

use axle_core::model::Name;
use serde::{Deserialize, Serialize};

pub use client::{AskError, ask};
pub use server::serve;

use crate::status::Status;

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "ask")]
pub enum Request {
    /// How things are.
    Status,
    /// Let everything pass for so many seconds; 0 ends a bypass.
    Bypass {
        /// For how long.
        seconds: u64,
    },
    /// Hold a pod's network up until what it may send is decided here. Asked by the node's CNI chain.
    Protect {
        /// The pod's uid, as its cgroup has it.
        pod: String,
        /// The file of its network namespace: a descriptor of who asks.
        network: i32,
    },
    /// Make a token with which a node joins.
    CreateToken {
        /// The node's name.
        node: Name,
        /// How long the token is good.
        ttl_seconds: u64,
    },
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "answer")]
pub enum Reply {
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Bypass`]: until when, in milliseconds since 1970; absent if it ended.
    Bypass {
        /// Until when.
        until_ms: Option<u64>,
    },
    /// To [`Request::Protect`].
    Protected,
    /// To [`Request::CreateToken`].
    Token {
        /// Shown once, kept hashed.
        token: String,
        /// In milliseconds since 1970.
        expires_ms: u64,
        /// What to run on the new node.
        join_command: String,
    },
    /// It is not done, and why.
    Refused {
        /// What is wrong and how to mend it.
        message: String,
    },
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Asker {
    /// Its process, by the number that it has here; `None` if it cannot be seen from here.
    process: Option<i32>,
}

impl Asker {
    /// What the asker holds open under this number. Needs its process namespace.
    ///
    /// # Errors
    /// If that is nothing, or may not be looked at.
    pub fn file(self, descriptor: i32) -> io::Result<File> {
        let process = self.process.filter(|process| *process > 0);
        let process = process.ok_or_else(|| io::Error::other("it is in a process namespace that is not seen here"))?;
        File::open(format!("/proc/{process}/fd/{descriptor}"))
    }
}

/// Who answers.
pub trait Answer: Send + Sync + 'static {
    /// The reply to one request.
    fn answer(&self, request: Request, asker: Asker) -> impl Future<Output = Reply> + Send;
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt, sync::Arc};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::UnixStream,
    };

    use super::*;

    struct Echo;
    impl Answer for Echo {
        async fn answer(&self, request: Request, _asker: Asker) -> Reply {
            Reply::Refused { message: format!("{request:?}") }
        }
    }

    #[tokio::test]
    async fn asks_and_answers() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.sock");
        assert!(matches!(ask(&path, &Request::Status).await, Err(AskError::NotRunning { .. })));
        // The socket of a killed agent is in the way of nobody.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(matches!(ask(&path, &Request::Status).await, Err(AskError::NotRunning { .. })));
        let server = serve(&path, Arc::new(Echo)).unwrap();
        let server = tokio::spawn(server);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let reply = ask(&path, &Request::Bypass { seconds: 5 }).await.unwrap();
        assert_eq!(reply, Reply::Refused { message: "Bypass { seconds: 5 }".into() });
        for rubbish in [&b"{}\n"[..], b"\xff\n", b"{\"ask\":\"nonsense\"}\n"] {
            let mut stream = UnixStream::connect(&path).await.unwrap();
            stream.write_all(rubbish).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.contains("refused"), "{answer}");
        }
        server.abort();
    }
}
