//! What each replica of a relay must have to lead: its enrolment, its credentials and the keys of its nodes. They are files,
//! as everywhere, and a Secret has copies: read before a replica leads, written whenever one of them changes.
use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use axle_core::model::Uid;
use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{place::RELAY, trouble::Trouble};
use crate::{
    disk::{self, Sealed},
    problems::Problems,
    state_directory::StateDirectory,
};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Clone)]
pub(super) struct Shared {
    api: Api<Secret>,
    /// Of whoever writes.
    term: u32,
    files: [(&'static str, PathBuf); 3],
}

/// Who led last, as the Secret knows it: written before it serves anybody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LastLeader {
    /// Of the log that all leaders share.
    pub(super) epoch: Uid,
    /// Which leader.
    pub(super) term: u32,
    /// Its pod.
    pub(super) pod: String,
}

/// Its entry. What cannot be read is of another version; then it counts as nobody.
const LEADER: &str = "leader";

/// The entries of the Secret.
type Entries = BTreeMap<String, ByteString>;

/// Why the Secret or its files cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum SharedError {
    /// The API server.
    #[error(transparent)]
    Trouble(#[from] Trouble),
    /// The disk.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Whoever writes leads no more.
    #[error("{pod} leads since, as leader {term}: this one was leader {own}")]
    Superseded {
        /// The term that the Secret knows.
        term: u32,
        /// The pod that it knows.
        pod: String,
        /// The term of whoever writes.
        own: u32,
    },
}

impl Shared {
    pub(super) fn new(client: Client, namespace: &str, state: &StateDirectory) -> Self {
        let files =
            [("enrollment", state.enrolled()), ("credentials", state.relay_certificates()), ("nodes", state.nodes())];
        Self { api: Api::namespaced(client, namespace), term: 0, files }
    }

    /// For whoever leads with this term. What a later one wrote is not written over.
    pub(super) fn led(self, term: u32) -> Self {
        Self { term, ..self }
    }

    async fn entries(&self) -> Result<Option<Entries>, Trouble> {
        let found = self.api.get_opt(RELAY).await.map_err(|error| Trouble::of::<Secret>("get", &error))?;
        Ok(found.map(|secret| secret.data.unwrap_or_default()))
    }

    /// Who led last, if anybody did.
    pub(super) async fn last_leader(&self) -> Result<Option<LastLeader>, Trouble> {
        Ok(leader(&self.entries().await?.unwrap_or_default()))
    }

    /// This one leads now.
    pub(super) async fn lead(&self, leader: &LastLeader) -> Result<(), SharedError> {
        let text = ByteString(serde_json::to_vec(leader).map_err(std::io::Error::other)?);
        self.store(&[(LEADER.to_owned(), text)].into()).await
    }

    /// The next one shall lead with a term above this, which stands against this one: nobody else knows it, where the
    /// cluster is of a backup.
    pub(super) async fn step_above(&self, term: u32) -> Result<(), SharedError> {
        let Some(last) = self.last_leader().await? else { return Ok(()) };
        self.lead(&LastLeader { term: term.max(last.term), pod: String::new(), ..last }).await
    }

    /// Puts into the files what the Secret has; whether it has anything.
    pub(super) async fn fetch(&self) -> Result<bool, SharedError> {
        let entries = self.entries().await?.filter(|entries| entries.contains_key("credentials"));
        let Some(entries) = entries else { return Ok(false) };
        for (name, path) in &self.files {
            if let Some(parent) = path.parent() {
                disk::private_directory(parent)?;
            }
            match entries.get(*name) {
                Some(ByteString(content)) => disk::seal(path, content)?,
                None => drop(std::fs::remove_file(path)),
            }
        }
        Ok(true)
    }

    /// Puts into the files what the Secret has. If it has nothing, what the files have goes into it; it is there afterwards.
    pub(super) async fn open(&self) -> Result<(), SharedError> {
        if self.fetch().await? {
            return Ok(());
        }
        if self.entries().await?.is_none() {
            let metadata = ObjectMeta { name: Some(RELAY.into()), ..ObjectMeta::default() };
            let empty = Secret { metadata, ..Secret::default() };
            let made = self.api.create(&PostParams::default(), &empty).await;
            made.map_err(|error| Trouble::of::<Secret>("create", &error))?;
        }
        self.copy().await
    }

    /// What the files have goes into the Secret.
    pub(super) async fn copy(&self) -> Result<(), SharedError> {
        self.store(&self.read()?).await
    }

    fn read(&self) -> Result<Entries, SharedError> {
        let mut entries = Entries::new();
        for (name, path) in &self.files {
            if let Sealed::Whole(content) = disk::unseal(path)? {
                entries.insert((*name).to_owned(), ByteString(content));
            }
        }
        Ok(entries)
    }

    /// Writes to the Secret as it was read, unless a later leader has been there.
    async fn store(&self, entries: &Entries) -> Result<(), SharedError> {
        loop {
            let there = self.api.get(RELAY).await.map_err(|error| Trouble::of::<Secret>("get", &error))?;
            let last = there.data.as_ref().and_then(leader);
            if let Some(LastLeader { term, pod, .. }) = last.filter(|last| last.term > self.term) {
                return Err(SharedError::Superseded { term, pod, own: self.term });
            }
            let version = there.metadata.resource_version;
            let patch = Patch::Merge(json!({ "metadata": { "resourceVersion": version }, "data": entries }));
            match self.api.patch(RELAY, &PatchParams::default(), &patch).await {
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                stored => return Ok(stored.map(drop).map_err(|error| Trouble::of::<Secret>("patch", &error))?),
            }
        }
    }

    /// Copies the files into the Secret whenever they change, until another one leads.
    pub(super) async fn keep(self, problems: Problems) {
        let mut stored = Entries::new();
        loop {
            let done = match self.read() {
                Ok(entries) if entries == stored => Ok(()),
                Ok(entries) => self.store(&entries).await.map(|()| stored = entries),
                Err(error) => Err(error),
            };
            if let Err(why @ SharedError::Superseded { .. }) = &done {
                tracing::error!(%why, "this relay leads no more");
                return;
            }
            let why = |error| format!("another replica could not lead with what this one has: {error}");
            problems.set("the relay's Secret", done.err().map(why).into_iter().collect());
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn leader(entries: &Entries) -> Option<LastLeader> {
    entries.get(LEADER).and_then(|ByteString(text)| serde_json::from_slice(text).ok())
}

#[cfg(test)]
mod tests {
    use axle_tests::kubernetes::ApiServer as Server;

    use super::{super::client::ApiServer, *};

    /// By its own word it still leads: its API server was away.
    #[tokio::test]
    async fn a_former_leader_writes_over_nothing_that_a_later_one_wrote() {
        let server = Server::start().unwrap();
        server.namespace("axle-system").unwrap();
        let api = ApiServer::find(Some(server.admin().kubeconfig())).await.unwrap();
        let directories = [1, 2].map(|_| tempfile::tempdir().unwrap());
        let states = [0, 1].map(|at| StateDirectory::new(directories[at].path()).unwrap());
        let [former, later] = [(5, &states[0]), (6, &states[1])]
            .map(|(term, state)| Shared::new(api.client(), "axle-system", state).led(term));
        let record = |term, pod: &str| LastLeader { epoch: Uid([1; 16]), term, pod: pod.into() };
        states.iter().for_each(|state| disk::private_directory(state.nodes().parent().unwrap()).unwrap());
        disk::seal(&states[0].nodes(), b"all").unwrap();
        former.open().await.unwrap();
        former.lead(&record(5, "a")).await.unwrap();
        later.lead(&record(6, "b")).await.unwrap();
        for refused in [former.copy().await, former.lead(&record(5, "a")).await] {
            assert_eq!(refused.unwrap_err().to_string(), "b leads since, as leader 6: this one was leader 5");
        }
        assert_eq!(former.last_leader().await.unwrap(), Some(record(6, "b")));
        disk::seal(&states[1].nodes(), b"fewer").unwrap();
        later.copy().await.unwrap();
        let ended = former.keep(Problems::default());
        assert!(tokio::time::timeout(LOOK * 9, ended).await.is_ok(), "it ends by itself");
        assert_eq!(later.entries().await.unwrap().unwrap()["nodes"].0, b"fewer");
    }
}
