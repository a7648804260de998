//! How one of a cluster's relays leads: it holds the Lease, has what the Secret has, joins the hub if nobody has yet, and
//! says where it is.
use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axle_core::{
    log::Position,
    model::Name,
    session::{Backoff, Heartbeat, superseded_by},
};
use axle_transport::pki::JoinToken;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Service};
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams},
    core::PartialObjectMeta,
};
use serde_json::json;
use tokio::{task::JoinHandle, time::Instant};

use super::{
    client::ApiServer,
    lease::{Lease, Times},
    place::{Here, RELAY, RelayPlace},
    policy_feed::Feeds,
    secret::{LastLeader, Shared, SharedError},
    standing_by::StandingBy,
    teller::Telling,
    trouble::Trouble,
    watch::{Watched, complaint, follow},
};
use crate::{
    credentials::RoleCredentials,
    enroll::{JoinError, Joining, Proof, join},
    merged_log::Reign,
    probe::Fleet,
    problems::Problems,
    relay::{Nodes, Relay},
    shared_log::fresh_uid,
    state_directory::{Enrollment, StateDirectory, Upstream},
    tasks::Tasks,
};

/// The label of the pod that leads; the Service in front of the relay selects it.
const LEADS: &str = "axle.dev/relay";
/// How often what is said is compared with what is there.
const LOOK: Duration = Duration::from_secs(30);
/// After how long without a node's object it is gone.
const GONE: Duration = Duration::from_secs(30);
/// The pauses between attempts.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));
/// Who reports here.
const SOURCE: &str = "kubernetes";

/// How a cluster that has not joined yet joins.
#[derive(Debug, Clone)]
pub struct Joins {
    /// The hub, `HOST:PORT`.
    pub hub: String,
    /// The cluster's name there.
    pub cluster: Name,
    /// The token, good once.
    pub token: Option<JoinToken>,
}

/// The lease is held.
pub struct Leading {
    api: ApiServer,
    here: Here,
    lease: Arc<Lease>,
    lost: JoinHandle<String>,
    shared: Shared,
}

/// Waits until this replica leads, and gives it all that it needs for that. `problems` says meanwhile what it waits for.
///
/// # Errors
/// When the lease is lost on the way, the hub refuses the token, or the state directory does not do.
pub async fn lead(
    api: &ApiServer,
    here: &Here,
    joins: &Joins,
    state: &StateDirectory,
    heartbeat: Heartbeat,
    problems: &Problems,
    fleet: &Fleet,
) -> anyhow::Result<(Enrollment, Reign, Leading)> {
    let lease = Arc::new(Lease::new(api.separate()?, &here.namespace, RELAY, &here.pod, Times::default()));
    let shared = Shared::new(api.client(), &here.namespace, state);
    let standing = StandingBy::new(api.client(), here, &shared, state, heartbeat, problems, fleet);
    let (turn, followed) = standing.turn(&lease).await;
    let term = turn.term();
    let shared = shared.led(term);
    tracing::info!(pod = %here.pod, term, "this relay leads");
    let mut lost = tokio::spawn({
        let (lease, problems) = (lease.clone(), problems.clone());
        let told = move |why: Option<String>| {
            let sentence =
                |why| format!("the lease is not renewed, and this relay leads until another one does: {why}");
            problems.set("the lease", why.map(sentence).into_iter().collect());
        };
        async move { lease.keep(turn, told).await }
    });
    let ready = async {
        let enrollment = prepared(&shared, here, joins, state, problems).await?;
        anyhow::Ok((enrollment, reign(&shared, here, term, followed, problems).await?))
    };
    let (enrollment, reign) = tokio::select! {
        ready = ready => ready?,
        why = &mut lost => anyhow::bail!("{}", why.unwrap_or_else(|error| error.to_string())),
    };
    problems.set(SOURCE, Vec::new());
    Ok((enrollment, reign, Leading { api: api.clone(), here: here.clone(), lease, lost, shared }))
}

/// The place of this leader among the others. Whoever takes over later knows it before anybody is served.
async fn reign(
    shared: &Shared,
    here: &Here,
    term: u32,
    followed: Option<Position>,
    problems: &Problems,
) -> anyhow::Result<Reign> {
    let mut patience = Patience { pauses: Backoff::new(PAUSES.0, PAUSES.1), problems };
    let last = loop {
        match shared.last_leader().await {
            Ok(last) => break last,
            Err(why) => patience.wait(why.to_string()).await,
        }
    };
    let epoch = last.as_ref().map_or_else(fresh_uid, |last| last.epoch);
    let leader = LastLeader { epoch, term, pod: here.pod.clone() };
    while let Err(why) = shared.lead(&leader).await {
        patience.wait_out(why).await?;
    }
    let has_its_log = |last: &LastLeader| {
        last.pod == here.pod || followed.is_some_and(|at| (at.epoch, at.term()) == (last.epoch, last.term))
    };
    Ok(Reign { epoch, term, after: last.filter(has_its_log).map(|last| last.term) })
}

/// Says why it waits.
struct Patience<'a> {
    pauses: Backoff,
    problems: &'a Problems,
}

impl Patience<'_> {
    async fn wait(&mut self, why: String) {
        tracing::warn!(%why, "the relay cannot lead yet");
        self.problems.set(SOURCE, vec![format!("this relay cannot lead yet: {why}")]);
        tokio::time::sleep(PAUSES.0 + self.pauses.next(getrandom::u64().unwrap_or_default())).await;
    }

    /// Waits for what may pass: that another one leads does not.
    async fn wait_out(&mut self, why: SharedError) -> Result<(), SharedError> {
        if let SharedError::Superseded { .. } = why {
            return Err(why);
        }
        self.wait(why.to_string()).await;
        Ok(())
    }
}

/// With what the Secret has, or what the hub grants.
async fn prepared(
    shared: &Shared,
    here: &Here,
    joins: &Joins,
    state: &StateDirectory,
    problems: &Problems,
) -> anyhow::Result<Enrollment> {
    let mut patience = Patience { pauses: Backoff::new(PAUSES.0, PAUSES.1), problems };
    // Before the token is used up it must be sure that there is a place for what comes of it.
    while let Err(why) = shared.open().await {
        patience.wait_out(why).await?;
    }
    if let (Some(known), Ok(Some(_))) = (state.enrollment()?, RoleCredentials::load(&state.relay_certificates())) {
        let here = Enrollment { node: here.node.clone(), upstream: Upstream::Hub(joins.hub.clone()), ..known.clone() };
        if known.cluster_name != joins.cluster {
            anyhow::bail!(
                "the Secret {RELAY} has the credentials of cluster {}, wanted {}: to join anew, remove it and give a new token",
                known.cluster_name,
                joins.cluster
            );
        }
        if here != known {
            state.enroll(&here)?;
        }
        return Ok(here);
    }
    let Some(token) = &joins.token else {
        anyhow::bail!(
            "the Secret {RELAY} has no credentials, and there is no join token: axle token create --cluster {}",
            joins.cluster
        );
    };
    let upstream = Upstream::Hub(joins.hub.clone());
    let joining = Joining { upstream: &upstream, proof: Proof::Token(token), name: &joins.cluster };
    loop {
        match join(&joining, &state.relay_certificates()).await {
            Ok(joined) => {
                let node = here.node.clone();
                let enrollment = Enrollment {
                    cluster: joined.cluster,
                    cluster_name: joined.cluster_name,
                    node,
                    upstream: upstream.clone(),
                };
                state.enroll(&enrollment)?;
                // The token is used up: without the copy nobody else could ever lead.
                while let Err(why) = shared.copy().await {
                    patience.wait_out(why).await?;
                }
                tracing::info!(cluster.name = %enrollment.cluster_name, "the cluster joined");
                return Ok(enrollment);
            }
            Err(why @ JoinError::Unavailable { .. }) => patience.wait(why.to_string()).await,
            Err(why) => return Err(anyhow::Error::new(why).context("this cluster cannot join")),
        }
    }
}

impl Leading {
    /// What the cluster's people are told by whoever leads.
    #[must_use]
    pub fn telling(&self, relay: &Relay, feeds: Feeds, problems: &Problems) -> Telling {
        Telling {
            client: self.api.client(),
            node: self.here.node.to_string(),
            cluster: relay.cluster(),
            log: relay.log(),
            statuses: relay.statuses(),
            feeds,
            problems: problems.clone(),
        }
    }

    /// Runs what belongs to leading beside the role itself, until the lease is lost; the role must end then, at once.
    pub fn start(self, relay: &Relay, problems: &Problems, tasks: &mut Tasks) -> Released {
        let Self { api, here, lease, lost, shared } = self;
        let superseded = relay.superseded();
        tasks.spawn("the relay's Secret", shared.clone().keep(problems.clone()));
        tasks.spawn("the lease", async move {
            let why = tokio::select! {
                why = lost => why.unwrap_or_else(|error| error.to_string()),
                why = superseded => why,
            };
            tracing::error!(%why, "this relay leads no more");
            if let Some(term) = superseded_by(&why) {
                let above = tokio::time::timeout(PAUSES.0 * 3, shared.step_above(term)).await;
                tracing::info!(term, ?above, "the next one leads with a term above");
            }
        });
        let nodes = follow(Api::<PartialObjectMeta<Node>>::all(api.client()), ListParams::default(), |_| {});
        tasks.spawn("nodes that are gone", forget_nodes(nodes, relay.nodes(), problems.clone()));
        let place = Saying {
            credentials: relay.credentials().clone(),
            cluster: relay.cluster(),
            port: relay.address.port(),
            api: api.clone(),
            here: here.clone(),
            lease: lease.clone(),
        };
        tasks.spawn("where the relay is", place.keep(problems.clone()));
        Released { api, here, lease }
    }
}

/// Gives the lease up when the agent is told to stop.
pub struct Released {
    api: ApiServer,
    here: Here,
    lease: Arc<Lease>,
}

impl Released {
    /// After the role has ended: another replica may lead at once.
    pub async fn release(self) {
        let done = async {
            let pods = Api::<Pod>::namespaced(self.api.client(), &self.here.namespace);
            let _ = mark(&pods, &self.here.pod, None).await;
            self.lease.release().await;
        };
        if tokio::time::timeout(PAUSES.0 * 3, done).await.is_err() {
            tracing::warn!("the lease is not given up: the API server does not answer");
        }
    }
}

/// What the leader says of itself.
struct Saying {
    credentials: RoleCredentials,
    cluster: axle_core::model::Uid,
    port: u16,
    api: ApiServer,
    here: Here,
    lease: Arc<Lease>,
}

impl Saying {
    /// Sees to it that the Service leads here and the ConfigMap says so, for ever.
    async fn keep(self, problems: Problems) {
        loop {
            let said = self.say().await;
            let pause = if said.is_ok() { LOOK } else { PAUSES.0 };
            let why = |trouble| format!("nodes may not find this relay: {trouble}");
            problems.set("the relay's place", said.err().map(why).into_iter().collect());
            tokio::time::sleep(pause).await;
        }
    }

    async fn say(&self) -> Result<(), Trouble> {
        // Whoever was away does not know yet what became of it.
        self.lease.still_held().await?;
        let pods = Api::<Pod>::namespaced(self.api.client(), &self.here.namespace);
        let leaders = pods.list_metadata(&ListParams::default().labels(&format!("{LEADS}=leader"))).await;
        let leaders = leaders.map_err(|error| Trouble::of::<Pod>("list", &error))?;
        let (own, others): (Vec<_>, Vec<_>) =
            leaders.items.iter().map(ResourceExt::name_any).partition(|name| *name == self.here.pod);
        for other in others {
            // It may be gone meanwhile.
            let _ = mark(&pods, &other, None).await;
        }
        if own.is_empty() {
            let marked = mark(&pods, &self.here.pod, Some("leader")).await;
            marked.map_err(|error| Trouble::of_part::<Pod>("patch", "/status", &error))?;
        }
        let place = RelayPlace { address: self.address().await?, cluster: self.cluster, root: self.credentials.root() };
        let maps = Api::<ConfigMap>::namespaced(self.api.client(), &self.here.namespace);
        let wanted = place.config_map();
        let held = maps.get_opt(RELAY).await.map_err(|error| Trouble::of::<ConfigMap>("get", &error))?;
        if held.is_none_or(|held| held.data != wanted.data) {
            let whole = PatchParams::apply("axle-relay").force();
            let said = maps.patch(RELAY, &whole, &Patch::Apply(&wanted)).await;
            said.map_err(|error| Trouble::of::<ConfigMap>("patch", &error))?;
        }
        Ok(())
    }

    /// By the Service, whatever pod leads; nodes need no DNS for it.
    async fn address(&self) -> Result<String, Trouble> {
        let services = Api::<Service>::namespaced(self.api.client(), &self.here.namespace);
        let service = services.get(RELAY).await.map_err(|error| Trouble::of::<Service>("get", &error))?;
        let spec = service.spec.unwrap_or_default();
        let port =
            spec.ports.iter().flatten().next().map_or(self.port, |port| port.port.try_into().unwrap_or(self.port));
        let ip = spec.cluster_ip.as_deref().and_then(|text| text.parse::<std::net::IpAddr>().ok());
        let namespace = &self.here.namespace;
        Ok(ip.map_or_else(
            || format!("{RELAY}.{namespace}.svc:{port}"),
            |ip| std::net::SocketAddr::new(ip, port).to_string(),
        ))
    }
}

/// By the pod's status, with which labels may be written and nothing that a pod runs: the right to that is less.
async fn mark(pods: &Api<Pod>, pod: &str, value: Option<&str>) -> kube::Result<()> {
    let patch = Patch::Merge(json!({"metadata": {"labels": {LEADS: value}}}));
    pods.patch_status(pod, &PatchParams::default(), &patch).await.map(drop)
}

/// A node without an object is none of the cluster. Only what the API server says now counts, and for a while: a node may
/// have joined before its object was seen.
async fn forget_nodes(mut watched: Watched<PartialObjectMeta<Node>>, nodes: Nodes, problems: Problems) {
    let mut missing: BTreeMap<Name, Instant> = BTreeMap::new();
    loop {
        {
            let held = watched.borrow_and_update();
            let why = complaint(&held).map(|why| format!("nodes that are gone are not removed: {why}"));
            problems.set("nodes that are gone", why.into_iter().collect());
            if !held.complete || held.trouble.is_some() {
                missing.clear();
            } else {
                let has = |name: &Name| held.objects.contains_key(&(String::new(), name.to_string()));
                let gone = nodes.names().into_iter().filter(|name| !has(name));
                missing = gone
                    .map(|name| (missing.get(&name).copied(), name))
                    .map(|(since, name)| (name, since.unwrap_or_else(Instant::now)))
                    .collect();
            }
        }
        for (node, since) in &missing {
            if since.elapsed() >= GONE {
                tracing::warn!(node.name = %node, "it has no Node object any more: removed");
                nodes.remove(node);
            }
        }
        tokio::select! {
            changed = watched.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(GONE / 6) => {}
        }
    }
}
