//! The command line. Every option can be set in the environment as well, and those of `run` in a file; the option wins, then
//! the environment.
use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use axle_core::{duration, model::Name};
use clap::{Args, Parser, Subcommand, ValueEnum};

use super::{ChainFolders, KubernetesArguments};
use crate::role::Role;

/// Axle's agent: joins a machine to the mesh, keeps its policy in force in the kernel, and answers for it.
#[derive(Debug, Parser)]
#[command(
    name = "axle-agent",
    version,
    propagate_version = true,
    after_help = "Examples:\n  axle-agent join --hub hub.example:7443 --cluster alpha --token axle1.…\n  axle-agent run --inventory \
                  /etc/axle/inventory\n  axle-agent status\n\nExit codes: 0 ok, 1 internal, 2 usage or bad input, 3 held by \
                  another agent, 4 authentication, 5 unavailable."
)]
pub struct Arguments {
    /// File of settings: options of `run` without their dashes, such as `heartbeat: 5s`; by default /etc/axle/agent.yaml
    /// if that is there.
    #[arg(long, env = "AXLE_AGENT_CONFIG", value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// One command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the agent until it is told to stop.
    #[command(
        after_help = "Examples:\n  axle-agent run\n  axle-agent run --inventory /etc/axle/inventory --node-address 192.0.2.7\n  axle-agent run --kubernetes --roles node --node n1\n\n\
                      Stopping the agent leaves the last policy in force; `axle-agent cleanup` removes it."
    )]
    Run(Box<RunArguments>),
    /// Enrols this machine with a token and exits.
    #[command(
        after_help = "Examples:\n  axle-agent join --hub hub.example:7443 --cluster alpha --token axle1.…   # first machine of a \
                      cluster: relay and node\n  axle-agent join --relay 192.0.2.7:7444 --node n2 --token axle1.…         # further \
                      nodes\n\nTokens come from `axle token create --cluster alpha` at the hub, and from `axle-agent token create \
                      --node n2` on the relay's machine."
    )]
    Join(JoinArguments),
    /// Shows what the running agent holds and enforces.
    #[command(after_help = "Examples:\n  axle-agent status\n  axle-agent status -o json")]
    Status(StatusArguments),
    /// Lets all traffic of this node's workloads pass for a while, without any hub. Logged, and reported to the hub.
    #[command(after_help = "Examples:\n  axle-agent bypass --for 10m\n  axle-agent bypass --off")]
    Bypass(BypassArguments),
    /// Removes every program, map and pin that an agent left in the kernel, and what it put into the CNI chain: nothing is
    /// enforced afterwards.
    #[command(
        after_help = "Examples:\n  axle-agent cleanup\n  axle-agent cleanup --pin-dir /sys/fs/bpf/axle\n\nThe agent must not \
                            be running."
    )]
    Cleanup(CleanupArguments),
    /// In Kubernetes: waits until a DaemonSet that runs `cleanup` has done so on every node, and deletes it.
    #[command(hide = true)]
    AwaitCleanup(AwaitCleanupArguments),
    /// Asks relays of other clusters, from here, whether packets pass both ways and with which source addresses they arrive;
    /// one JSON object each. `axle cluster check` does so in a cluster's relays.
    #[command(after_help = "Example:\n  axle-agent probe 10.2.0.7 fd00:2::7")]
    Probe(ProbeArguments),
    /// Tokens with which further nodes join this relay.
    Token(TokenArguments),
}

/// Where the agent keeps what must survive it.
#[derive(Debug, Clone, Args)]
pub struct StateDirectory {
    /// The agent's directory: certificates, cached state, local socket.
    #[arg(long, env = "AXLE_STATE_DIR", value_name = "DIR", default_value = "/var/lib/axle")]
    pub state_dir: PathBuf,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `run`.
#[derive(Debug, Clone, Args)]
pub struct RunArguments {
    /// Where everything is kept.
    #[command(flatten)]
    pub state: StateDirectory,
    /// Directory of YAML files that say what runs here; by default `inventory` in the state directory.
    #[arg(long, env = "AXLE_INVENTORY", value_name = "DIR")]
    pub inventory: Option<PathBuf>,
    /// What this process does; by default what it joined as: relay and node of a cluster, or one more node.
    #[arg(long, env = "AXLE_ROLES", value_name = "ROLES", value_delimiter = ',', value_enum)]
    pub roles: Vec<Role>,
    /// Relay: where nodes connect.
    #[arg(long, env = "AXLE_RELAY_LISTEN", value_name = "ADDR", default_value = "0.0.0.0:7444")]
    pub relay_listen: SocketAddr,
    /// Node: an address of this machine itself, repeatable; by default those of its interfaces, but for what container
    /// engines, hypervisors and kube-proxy make alike on every machine.
    #[arg(long = "node-address", env = "AXLE_NODE_ADDRESS", value_name = "IP", value_delimiter = ',')]
    pub node_addresses: Vec<IpAddr>,
    /// Node: a label of this machine, repeatable.
    #[arg(long = "node-label", env = "AXLE_NODE_LABEL", value_name = "KEY=VALUE", value_delimiter = ',', value_parser = parse_label)]
    pub node_labels: Vec<(String, String)>,
    /// Node: where programs and maps are pinned; on a BPF file system.
    #[arg(long, env = "AXLE_PIN_DIR", value_name = "DIR", default_value = "/sys/fs/bpf/axle")]
    pub pin_dir: PathBuf,
    /// Node: cgroup (version 2) of the workloads, where service addresses are translated; without it they are not.
    #[arg(long, env = "AXLE_CGROUP", value_name = "DIR")]
    pub cgroup: Option<PathBuf>,
    /// Node: where names under `clusterset.local` are answered over UDP and TCP, IP or IP:PORT, repeatable; nowhere if it is
    /// not given.
    #[arg(long, env = "AXLE_DNS_LISTEN", value_name = "ADDR", value_delimiter = ',', value_parser = parse_dns_listen)]
    pub dns_listen: Vec<(IpAddr, Option<u16>)>,
    /// Node: the port of those that name none.
    #[arg(long, env = "AXLE_DNS_PORT", value_name = "PORT", default_value = "53")]
    pub dns_port: u16,
    /// Where metrics and health are served over plain HTTP, or `off`; loopback only.
    #[arg(long, env = "AXLE_HTTP_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:7081", value_parser = parse_http)]
    pub http_listen: HttpListen,
    /// Where metrics alone are served over plain HTTP to whoever comes there, such as a Prometheus of another machine; by
    /// default nowhere.
    #[arg(long, env = "AXLE_METRICS_LISTEN", value_name = "ADDR", value_parser = parse_address)]
    pub metrics_listen: Option<SocketAddr>,
    /// How often each side of a session says that it is alive.
    #[arg(long, env = "AXLE_HEARTBEAT", value_name = "TIME", default_value = "10s", value_parser = duration::parse)]
    pub heartbeat: Duration,
    /// Relay: how long the certificates live that it gives to nodes.
    #[arg(long, env = "AXLE_CERTIFICATE_LIFETIME", value_name = "TIME", default_value = "24h", value_parser = duration::parse)]
    pub certificate_lifetime: Duration,
    /// Relay: for how long a node's expired certificate may still ask for its renewal, and for nothing else.
    #[arg(long, env = "AXLE_RENEWAL_GRACE", value_name = "TIME", default_value = "30d", value_parser = duration::parse)]
    pub renewal_grace: Duration,
    /// How often the inventory is read again even if nothing seemed to change.
    #[arg(long, env = "AXLE_RESCAN", value_name = "TIME", default_value = "30s", value_parser = duration::parse)]
    pub rescan: Duration,
    /// How log lines look. What is logged: `AXLE_LOG`, such as `info` or `axle_agent=debug`.
    #[arg(long, env = "AXLE_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// In Kubernetes.
    #[command(flatten)]
    pub kubernetes: KubernetesArguments,
}

/// `join`.
#[derive(Debug, Clone, Args)]
pub struct JoinArguments {
    /// Where everything is kept.
    #[command(flatten)]
    pub state: StateDirectory,
    /// The hub: this machine becomes the relay of its cluster, and a node of it.
    #[arg(long, value_name = "HOST:PORT", requires = "cluster", required_unless_present = "relay")]
    pub hub: Option<String>,
    /// The cluster's relay: this machine becomes a further node.
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["hub", "cluster"])]
    pub relay: Option<String>,
    /// The cluster's name, as it was added at the hub.
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<Name>,
    /// This machine's name in its cluster; by default its host name.
    #[arg(long, env = "AXLE_NODE", value_name = "NAME")]
    pub node: Option<Name>,
    /// The token; `-` reads it from standard input, so that it stays out of the process list.
    #[arg(long, env = "AXLE_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub token: String,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// `status`.
#[derive(Debug, Clone, Args)]
pub struct StatusArguments {
    /// Whose status.
    #[command(flatten)]
    pub state: StateDirectory,
    /// How it is printed.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `bypass`.
#[derive(Debug, Clone, Args)]
pub struct BypassArguments {
    /// Which agent.
    #[command(flatten)]
    pub state: StateDirectory,
    /// For how long; at most 24 h.
    #[arg(long = "for", value_name = "TIME", value_parser = parse_span, required_unless_present = "off")]
    pub period: Option<Duration>,
    /// Ends a bypass at once.
    #[arg(long, conflicts_with = "period")]
    pub off: bool,
}

/// `cleanup`.
#[derive(Debug, Clone, Args)]
pub struct CleanupArguments {
    /// Where programs and maps are pinned.
    #[arg(long, env = "AXLE_PIN_DIR", value_name = "DIR", default_value = "/sys/fs/bpf/axle")]
    pub pin_dir: PathBuf,
    /// Where the agent held pods up.
    #[command(flatten)]
    pub chain: ChainFolders,
    /// Only what holds pods up: what is in force stays in force.
    #[arg(long)]
    pub chain_only: bool,
    /// Waits afterwards until it is told to stop, as a pod of a DaemonSet must.
    #[arg(long)]
    pub stay: bool,
}

/// `await-cleanup`.
#[derive(Debug, Clone, Args)]
pub struct AwaitCleanupArguments {
    /// The DaemonSet.
    #[arg(long, value_name = "NAME")]
    pub daemonset: String,
    /// How long it may take.
    #[arg(long, value_name = "TIME", default_value = "4m", value_parser = duration::parse)]
    pub within: Duration,
}

/// `probe`.
#[derive(Debug, Clone, Args)]
pub struct ProbeArguments {
    /// Addresses of relays' pods.
    #[arg(required = true, value_name = "IP")]
    pub addresses: Vec<IpAddr>,
    /// The port at which they are asked.
    #[arg(long, default_value_t = crate::probe::PORT)]
    pub port: u16,
}

/// `token`.
#[derive(Debug, Clone, Args)]
pub struct TokenArguments {
    /// What to do with tokens.
    #[command(subcommand)]
    pub command: TokenCommand,
}

/// What to do with tokens.
#[derive(Debug, Clone, Subcommand)]
pub enum TokenCommand {
    /// Makes a token with which one node joins, once. Works with the hub away.
    #[command(
        after_help = "Examples:\n  axle-agent token create --node n2\n  axle-agent token create --node n2 --ttl 1h -o json"
    )]
    Create(TokenCreateArguments),
}

/// `token create`.
#[derive(Debug, Clone, Args)]
pub struct TokenCreateArguments {
    /// Which agent, the cluster's relay.
    #[command(flatten)]
    pub state: StateDirectory,
    /// The name that the node will have; the token is good for no other.
    #[arg(long, value_name = "NAME")]
    pub node: Name,
    /// How long the token is good.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = parse_span)]
    pub ttl: Duration,
    /// How it is printed.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// Where metrics and health are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpListen {
    /// Nowhere.
    Off,
    /// There.
    At(SocketAddr),
}

/// A span of at least a second.
fn parse_span(text: &str) -> Result<Duration, String> {
    let span = duration::parse(text)?;
    if span.as_secs() == 0 { Err(format!("{text:?} is too short: at least 1s")) } else { Ok(span) }
}

fn parse_http(text: &str) -> Result<HttpListen, String> {
    if text == "off" {
        return Ok(HttpListen::Off);
    }
    let address: SocketAddr =
        text.parse().map_err(|_| format!("{text:?} is neither `off` nor an address such as 127.0.0.1:7081"))?;
    if !address.ip().is_loopback() {
        return Err(format!("{address} is not on loopback, and this port has no encryption; use 127.0.0.1 or [::1]"));
    }
    Ok(HttpListen::At(address))
}

/// Also without brackets, as Kubernetes gives a pod its address.
fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let bare = || {
        let (address, port) = text.rsplit_once(':')?;
        Some(SocketAddr::new(address.parse().ok()?, port.parse().ok()?))
    };
    text.parse().ok().or_else(bare).ok_or_else(|| format!("{text:?} is no address with a port, such as 192.0.2.7:7082"))
}

fn parse_dns_listen(text: &str) -> Result<(IpAddr, Option<u16>), String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok((address.ip(), Some(address.port())));
    }
    let ip = text.parse().map_err(|_| "wanted an address such as 10.0.0.1, fd00::1, 10.0.0.1:53 or [fd00::1]:53")?;
    Ok((ip, None))
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err(format!("{text:?} is not KEY=VALUE, such as zone=a")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_tree_is_sound() {
        Arguments::command().debug_assert();
    }

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split(' '))
    }

    #[test]
    fn join_takes_one_upstream() {
        assert!(parse("axle-agent join --hub h:1 --cluster a --token t").is_ok());
        assert!(parse("axle-agent join --relay r:1 --token t").is_ok());
        for bad in [
            "axle-agent join --token t",
            "axle-agent join --hub h:1 --token t",
            "axle-agent join --hub h:1 --cluster a --relay r:1 --token t",
            "axle-agent join --relay r:1 --cluster a --token t",
            "axle-agent join --hub h:1 --cluster Alpha --token t",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn plain_http_stays_on_loopback() {
        for (text, address) in
            [("192.0.2.7:1", "192.0.2.7:1"), ("[fd00::7]:1", "[fd00::7]:1"), ("fd00::7:1", "[fd00::7]:1")]
        {
            assert_eq!(parse_address(text), Ok(address.parse().unwrap()));
        }
        for wrong in ["192.0.2.7", "192.0.2.7:x", ":1", "n1:1"] {
            assert!(parse_address(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_http("off"), Ok(HttpListen::Off));
        assert!(parse_http("127.0.0.1:0").is_ok());
        assert!(parse_http("[::1]:9").is_ok());
        assert!(parse_http("0.0.0.0:7081").is_err_and(|error| error.contains("loopback")));
        assert!(parse_http("yes").is_err());
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(parse_dns_listen("10.0.0.1"), Ok((ip("10.0.0.1"), None)));
        assert_eq!(parse_dns_listen("fd00::1"), Ok((ip("fd00::1"), None)));
        assert_eq!(parse_dns_listen("[fd00::1]:5300"), Ok((ip("fd00::1"), Some(5300))));
        for wrong in ["", "localhost", "10.0.0.1:x", "10.0.0.1:70000", "[fd00::1]"] {
            assert!(parse_dns_listen(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn labels_are_pairs() {
        assert_eq!(parse_label("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(parse_label("a").is_err());
        assert!(parse_label("=b").is_err());
    }
}
