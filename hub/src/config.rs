//! The settings of a hub, from flags and environment.
use std::{
    env,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use axle_core::{
    duration,
    model::{Fleet, Name},
};
use clap::{Args, ValueEnum};
use form_urlencoded::byte_serialize;
use ipnet::{Ipv4Net, Ipv6Net};

/// Labels that tell instances of one workload apart. They are no part of an identity, else there would be as many
/// identities as instances.
const EXCLUDED_LABELS: &str = "pod-template-hash,pod-template-generation,controller-revision-hash,controller-uid,\
                               statefulset.kubernetes.io/pod-name,apps.kubernetes.io/pod-index,\
                               batch.kubernetes.io/controller-uid,batch.kubernetes.io/job-completion-index";

/// How a hub runs. The defaults suit one hub on one machine.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// Where the hub keeps its files [default: /var/lib/axle-hub for root, else ~/.local/share/axle-hub]
    #[arg(long, global = true, env = "AXLE_HUB_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// The database: sqlite:<path> or postgres://user@host/name [default: sqlite:<data-dir>/hub.db]
    #[arg(long, global = true, env = "AXLE_HUB_DATABASE", value_name = "URL", hide_env_values = true)]
    pub database: Option<String>,

    /// The root, in PEM, that a Postgres must prove itself by, with the URL's host in its certificate (sslmode=verify-full)
    #[arg(long, global = true, env = "AXLE_HUB_DATABASE_CA", value_name = "FILE")]
    pub database_ca: Option<PathBuf>,

    /// Where relays, the CLI and browsers connect, with TLS
    #[arg(long, env = "AXLE_HUB_LISTEN", value_name = "ADDR", default_value = "0.0.0.0:7443")]
    pub listen: SocketAddr,

    /// Where the dashboard, REST, health and metrics are without TLS; loopback only
    #[arg(long, env = "AXLE_HUB_HTTP_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:7080")]
    pub http_listen: SocketAddr,

    /// How others reach the TLS port, as HOST:PORT; may be repeated, the first is shown in join commands
    /// [default: the listening address, or this host's name]
    #[arg(long, env = "AXLE_HUB_ADVERTISE", value_name = "HOST:PORT", value_delimiter = ',', value_parser = host_port)]
    pub advertise: Vec<String>,

    /// The name of the mesh, in every certificate; fixed at the first start
    #[arg(long, global = true, env = "AXLE_HUB_MESH", value_name = "NAME", default_value = "axle", value_parser = mesh)]
    pub mesh: Name,

    /// How often hub and relays show each other that they live
    #[arg(long, env = "AXLE_HUB_HEARTBEAT", value_name = "TIME", default_value = "10s", value_parser = duration::parse)]
    pub heartbeat: Duration,

    /// How long certificates hold; relays renew at half of it
    #[arg(long, env = "AXLE_HUB_CERTIFICATE_LIFETIME", value_name = "TIME", default_value = "24h", value_parser = duration::parse)]
    pub certificate_lifetime: Duration,

    /// For how long an expired certificate may still ask for its renewal, and for nothing else
    #[arg(long, env = "AXLE_HUB_RENEWAL_GRACE", value_name = "TIME", default_value = "30d", value_parser = duration::parse)]
    pub renewal_grace: Duration,

    /// How long a root of the mesh's certificates holds
    #[arg(long, env = "AXLE_HUB_CA_LIFETIME", value_name = "TIME", default_value = "3650d", value_parser = duration::parse)]
    pub ca_lifetime: Duration,

    /// At which age of the root its rotation begins by itself; at the latest at half of its life
    #[arg(long, env = "AXLE_HUB_CA_ROTATE_AFTER", value_name = "TIME", default_value = "1825d", value_parser = duration::parse)]
    pub ca_rotate_after: Duration,

    /// How long the first admin's token holds
    #[arg(long, env = "AXLE_HUB_TOKEN_LIFETIME", value_name = "TIME", default_value = "30d", value_parser = duration::parse)]
    pub token_lifetime: Duration,

    /// How long requests in flight may take to end when the hub stops
    #[arg(long, env = "AXLE_HUB_DRAIN", value_name = "TIME", default_value = "10s", value_parser = duration::parse)]
    pub drain: Duration,

    /// How long the log, which is the audit trail, is kept; of the newest 10000 revisions nothing is ever forgotten
    #[arg(long, env = "AXLE_HUB_LOG_RETENTION", value_name = "TIME", default_value = "400d", value_parser = duration::parse)]
    pub log_retention: Duration,

    /// Where IPv4 service addresses come from; fixed at the first start
    #[arg(long, env = "AXLE_HUB_VIP4", value_name = "CIDR", default_value = "240.64.0.0/16")]
    pub vip4: Ipv4Net,

    /// Where IPv6 service addresses come from; fixed at the first start
    #[arg(long, env = "AXLE_HUB_VIP6", value_name = "CIDR", default_value = "fd61:786c:65::/64")]
    pub vip6: Ipv6Net,

    /// Label keys that are no part of an identity; fixed at the first start
    #[arg(long, env = "AXLE_HUB_EXCLUDED_LABELS", value_name = "KEY", value_delimiter = ',', default_value = EXCLUDED_LABELS)]
    pub excluded_labels: Vec<String>,

    /// The CLI's context file to leave ready at the first start, or `off`
    /// [default: $AXLE_CONFIG, else ~/.config/axle/config.yaml]
    #[arg(long, env = "AXLE_HUB_CONTEXT_FILE", value_name = "PATH")]
    pub context_file: Option<PathBuf>,

    /// How logs are written
    #[arg(long, global = true, env = "AXLE_HUB_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The shortest lifetime of a certificate: renewal at half of it must be possible.
const SHORTEST_LIFETIME: Duration = Duration::from_secs(5);
/// The longest lifetime of anything: a hundred years.
const LONGEST_LIFETIME: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

impl Config {
    /// Where the hub keeps its files.
    ///
    /// # Errors
    /// When there is no setting and no home to look for.
    pub fn data_dir(&self) -> Result<PathBuf, String> {
        if let Some(dir) = &self.data_dir {
            return Ok(dir.clone());
        }
        let home = env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        match home {
            Some(home) if home.as_os_str() != "/root" => Ok(home.join(".local/share/axle-hub")),
            Some(_) => Ok("/var/lib/axle-hub".into()),
            None => Err("data-dir: not given, and HOME is not set; give --data-dir DIR".into()),
        }
    }

    /// The database's URL, with what it must prove itself by.
    ///
    /// # Errors
    /// As for [`Config::data_dir`], and for a root that no URL or another one is for.
    pub fn database(&self) -> Result<String, String> {
        let url = match &self.database {
            Some(url) => url.clone(),
            None => format!("sqlite:{}", self.data_dir()?.join("hub.db").display()),
        };
        let Some(ca) = &self.database_ca else { return Ok(url) };
        if !url.starts_with("postgres") {
            return Err("database-ca: is for a Postgres; give --database postgres://… too, or leave it out".into());
        }
        if ["sslmode", "sslrootcert"].iter().any(|name| url.contains(name)) {
            return Err(
                "database-ca: the database's URL says sslmode or sslrootcert itself; say it in one place".into()
            );
        }
        let mark = if url.contains('?') { '&' } else { '?' };
        let file: String = byte_serialize(ca.as_os_str().as_encoded_bytes()).collect();
        Ok(format!("{url}{mark}sslmode=verify-full&sslrootcert={file}"))
    }

    /// What the fleet begins with.
    #[must_use]
    pub fn fleet(&self) -> Fleet {
        Fleet { vip4: self.vip4, vip6: self.vip6, excluded_label_keys: self.excluded_labels.clone() }
    }

    /// Everything that is wrong with the settings together.
    ///
    /// # Errors
    /// One sentence per fault.
    pub fn check(&self) -> Result<(), Vec<String>> {
        let mut faults = Vec::new();
        if !self.http_listen.ip().is_loopback() {
            faults.push(format!(
                "http-listen: {} is not a loopback address, and this port has no TLS; wanted 127.0.0.1 or [::1]; \
                 others reach the same pages at the TLS port",
                self.http_listen
            ));
        }
        let least = |name: &str, got: Duration, least: Duration| {
            (got < least).then(|| format!("{name}: {got:?} is too short; wanted at least {least:?}"))
        };
        faults.extend(least("heartbeat", self.heartbeat, Duration::from_millis(100)));
        faults.extend(least("certificate-lifetime", self.certificate_lifetime, SHORTEST_LIFETIME));
        // A rotation takes two lifetimes of a certificate and the grace, and the next must not begin before it is over.
        let rotation = [self.certificate_lifetime, self.renewal_grace, Duration::from_secs(60)];
        let rotation = rotation.iter().fold(self.certificate_lifetime, |sum, part| sum.saturating_add(*part));
        faults.extend(least("ca-rotate-after", self.ca_rotate_after, rotation));
        faults.extend(least("ca-lifetime", self.ca_lifetime, rotation.saturating_mul(2)));
        let most = |name: &str, got: Duration| {
            (got > LONGEST_LIFETIME)
                .then(|| format!("{name}: {got:?} is too long; wanted at most {LONGEST_LIFETIME:?}"))
        };
        faults.extend(most("certificate-lifetime", self.certificate_lifetime));
        faults.extend(most("renewal-grace", self.renewal_grace));
        faults.extend(most("ca-lifetime", self.ca_lifetime));
        faults.extend(least("token-lifetime", self.token_lifetime, Duration::from_secs(60)));
        faults.extend(least("log-retention", self.log_retention, Duration::from_secs(3600)));
        if let Some(url) = &self.database
            && !["sqlite:", "postgres://", "postgresql://"].iter().any(|kind| url.starts_with(kind))
        {
            faults.push("database: of no known kind; wanted sqlite:<path> or postgres://user@host/name".into());
        }
        if let Err(fault) = self.data_dir().and_then(|_| self.database()) {
            faults.push(fault);
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    /// How others reach the TLS port once it is bound, best first.
    #[must_use]
    pub fn advertised(&self, bound: SocketAddr) -> Vec<String> {
        if !self.advertise.is_empty() {
            return self.advertise.clone();
        }
        if bound.ip().is_unspecified() {
            let name = hostname().unwrap_or_else(|| "localhost".into());
            return vec![format!("{name}:{}", bound.port())];
        }
        vec![bound.to_string()]
    }

    /// Every name and address that the hub's certificate is good for.
    #[must_use]
    pub fn certificate_names(&self, bound: SocketAddr) -> Vec<String> {
        let mut names: Vec<String> = self.advertised(bound).iter().map(|address| host_of(address)).collect();
        names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_string));
        names.extend(hostname());
        names.sort();
        names.dedup();
        names
    }
}

fn host_of(address: &str) -> String {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_matches(['[', ']']).to_string()
}

/// This host's name, if it is one that a certificate can carry.
fn hostname() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?.trim().to_lowercase();
    Name::new(&name).ok().map(|name| name.to_string())
}

fn host_port(text: &str) -> Result<String, String> {
    let wrong =
        |why: &str| format!("{text:?} {why}; wanted HOST:PORT, such as hub.example.org:7443 or [2001:db8::1]:7443");
    let (host, port) = text.rsplit_once(':').ok_or_else(|| wrong("has no port"))?;
    if port.parse::<u16>().unwrap_or(0) == 0 {
        return Err(wrong("has no port from 1 to 65535"));
    }
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let good = match address {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.parse::<IpAddr>().is_ok_and(|address| address.is_ipv4()) || Name::new(host).is_ok(),
    };
    if good { Ok(text.into()) } else { Err(wrong("has no good host")) }
}

fn mesh(text: &str) -> Result<Name, String> {
    Name::new(text).map_err(|why| why.to_string())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        config: Config,
    }

    fn parse(flags: &[&str]) -> Result<Config, String> {
        let parsed = Command::try_parse_from([&["axle-hub"], flags].concat());
        parsed.map(|command| command.config).map_err(|why| why.to_string())
    }

    #[test]
    fn defaults_are_good() {
        let config = parse(&["--data-dir", "/x"]).unwrap();
        config.check().unwrap();
        assert_eq!(config.database().unwrap(), "sqlite:/x/hub.db");
        let bound = "10.0.0.1:7443".parse().unwrap();
        assert_eq!(config.advertised(bound), ["10.0.0.1:7443"]);
        assert!(config.certificate_names(bound).contains(&"10.0.0.1".to_string()));
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let flags = ["--http-listen", "0.0.0.0:7080", "--certificate-lifetime", "1s", "--database", "mysql://x"];
        let faults = parse(&flags).unwrap().check().unwrap_err().join("\n");
        for wanted in ["http-listen: 0.0.0.0:7080", "certificate-lifetime: 1s", "database: of no known kind"] {
            assert!(faults.contains(wanted), "{faults}");
        }
        for (flags, wanted) in [
            (["--ca-rotate-after=30d", "--ca-lifetime=400d"], "ca-rotate-after: 2592000s is too short"),
            (["--ca-lifetime=60d", "--ca-rotate-after=40d"], "ca-lifetime: 5184000s is too short"),
            (["--certificate-lifetime=9999999d", "--renewal-grace=200000000000d"], "renewal-grace"),
        ] {
            let faults = parse(&flags).unwrap().check().unwrap_err().join("\n");
            assert!(faults.contains(wanted), "{faults}");
        }
    }

    #[test]
    fn a_root_for_the_database_is_part_of_its_url_or_refused() {
        let ca = "--database-ca=/etc/the ca";
        for (url, wanted) in [
            ("postgres://db/axle", "postgres://db/axle?sslmode=verify-full&sslrootcert=%2Fetc%2Fthe+ca"),
            ("postgres://db/axle?port=1", "postgres://db/axle?port=1&sslmode=verify-full&sslrootcert=%2Fetc%2Fthe+ca"),
        ] {
            assert_eq!(parse(&["--database", url, ca]).unwrap().database().unwrap(), wanted);
        }
        for (url, wanted) in [
            ("postgres://db/axle?sslmode=disable", "in one place"),
            ("postgres://db/axle?sslrootcert=/other", "in one place"),
            ("sqlite:/x/hub.db", "is for a Postgres"),
        ] {
            let faults = parse(&["--data-dir=/x", "--database", url, ca]).unwrap().check().unwrap_err().join("\n");
            assert!(faults.contains(wanted), "{faults}");
        }
        assert!(parse(&["--data-dir=/x", ca]).unwrap().check().is_err());
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for flags in [
            ["--advertise", "hub"],
            ["--advertise", "hub:0"],
            ["--advertise", "hub:70000"],
            ["--advertise", "::1:7443"],
            ["--advertise", "a b:1"],
            ["--mesh", "Upper"],
            ["--heartbeat", "10"],
            ["--vip4", "10.0.0.0/33"],
            ["--listen", "somewhere"],
            ["--lissten", "0.0.0.0:1"],
        ] {
            assert!(parse(&flags).is_err(), "{flags:?}");
        }
        let config = parse(&["--advertise", "hub.example.org:7443,[2001:db8::1]:7443"]).unwrap();
        assert_eq!(
            config.certificate_names("0.0.0.0:7443".parse().unwrap()).len(),
            5 + usize::from(hostname().is_some())
        );
    }
}
