//! The last plugin of a node's CNI chain: a pod's network is not there before the agent protects it.
//!
//! It asks the agent at its local socket, waits for as long as its configuration says, and passes on what the plugins
//! before it made. It is a program of its own, without dependencies, because each pod of the node starts it and it must
//! run whatever becomes of the agent.
mod ask;
mod json;

use std::{
    env,
    io::{self, Read as _, Write as _},
    process::ExitCode,
};

use ask::Pod;

/// Of the specification, by the results that are passed on as they are.
const VERSIONS: &str = r#"{"cniVersion":"1.1.0","supportedVersions":["0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"]}"#;

/// What the specification calls its errors. Source: CNI specification 1.1, "Error".
const INVALID_ENVIRONMENT: u8 = 4;
const CANNOT_READ: u8 = 5;
const INVALID_CONFIGURATION: u8 = 7;
const TRY_AGAIN: u8 = 11;

/// Why a pod gets no network.
struct Fault {
    code: u8,
    message: String,
}

impl Fault {
    fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

fn main() -> ExitCode {
    let (text, code) = match run() {
        Ok(result) => (result, ExitCode::SUCCESS),
        Err(Fault { code, message }) => {
            (format!(r#"{{"cniVersion":"1.0.0","code":{code},"msg":{}}}"#, json::text(&message)), ExitCode::FAILURE)
        }
    };
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

fn run() -> Result<String, Fault> {
    match variable("CNI_COMMAND")?.as_str() {
        "VERSION" => Ok(VERSIONS.to_owned()),
        "ADD" => {
            let mut input = String::new();
            io::stdin().read_to_string(&mut input).map_err(|why| Fault::new(CANNOT_READ, why.to_string()))?;
            add(&input)
        }
        // The agent sees for itself that a pod is gone, and whether it is still protected.
        "DEL" | "CHECK" | "GC" | "STATUS" => Ok(String::new()),
        other => Err(Fault::new(INVALID_ENVIRONMENT, format!("CNI_COMMAND={other} is none that this plugin knows"))),
    }
}

fn add(input: &str) -> Result<String, Fault> {
    let settings = Settings::read(input).map_err(|why| Fault::new(INVALID_CONFIGURATION, why))?;
    let arguments = variable("CNI_ARGS")?;
    let uid = arguments.split(';').find_map(|argument| argument.strip_prefix("K8S_POD_UID="));
    let uid = uid.ok_or_else(|| Fault::new(INVALID_ENVIRONMENT, "CNI_ARGS has no K8S_POD_UID"))?;
    let pod = Pod { uid, network: &variable("CNI_NETNS")? };
    match ask::protect(&settings, &pod) {
        Ok(()) => Ok(settings.result),
        Err(_) if settings.open => Ok(settings.result),
        Err(why) => Err(Fault::new(TRY_AGAIN, format!("axle-agent does not protect this pod yet: {why}"))),
    }
}

fn variable(name: &str) -> Result<String, Fault> {
    env::var(name).map_err(|_| Fault::new(INVALID_ENVIRONMENT, format!("{name} is not set")))
}

/// What the agent wrote into the chain, and what the chain made so far.
struct Settings {
    /// The agent's local socket.
    socket: String,
    /// How long to wait for it.
    wait: std::time::Duration,
    /// Whether a pod that is not protected in time gets its network all the same.
    open: bool,
    /// Of the plugins before.
    result: String,
}

impl Settings {
    fn read(input: &str) -> Result<Self, String> {
        let members = json::members(input)?;
        let get = |name: &str| members.iter().find(|(key, _)| key == name).map(|(_, value)| *value);
        let need = |name: &str| get(name).ok_or_else(|| format!("{name} is missing"));
        let wait = need("waitSeconds")?;
        let result =
            get("prevResult").ok_or("there is no prevResult: this plugin goes after one that makes a network")?;
        Ok(Self {
            socket: json::string(need("socket")?)?,
            wait: std::time::Duration::from_secs(
                wait.parse().map_err(|_| format!("waitSeconds is {wait}, wanted whole seconds"))?,
            ),
            open: match need("unprotected")? {
                r#""refused""# => false,
                r#""allowed""# => true,
                other => return Err(format!("unprotected is {other}, wanted \"refused\" or \"allowed\"")),
            },
            result: result.to_owned(),
        })
    }
}
