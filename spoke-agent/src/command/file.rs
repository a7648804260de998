//! Settings from a file: the options of `run` by their long names, as defaults of the command line. Options and the
//! environment win, and what is no option of `run` is refused.
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use clap::{Command, CommandFactory, FromArgMatches, Parser};
use serde_json::Value;

use super::{Arguments, Exit, Failure};

/// Read if it is there and nobody names another.
const USUAL: &str = "/etc/axle/agent.yaml";

/// Values by the name of the option that they are for.
type Settings = BTreeMap<String, Vec<String>>;

/// Why there are no arguments.
#[derive(Debug)]
pub(super) enum Unparsed {
    /// The command line is wrong, or asks for help.
    Line(clap::Error),
    /// The file is wrong.
    File(Failure),
}

/// Parses a command line on top of the file that it, the environment or habit names.
pub(super) fn parse(line: &[OsString]) -> Result<Arguments, Unparsed> {
    let arguments = Arguments::try_parse_from(line).map_err(Unparsed::Line)?;
    let path = arguments.config.clone().unwrap_or_else(|| PathBuf::from(USUAL));
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && arguments.config.is_none() => return Ok(arguments),
        Err(error) => {
            return Err(Unparsed::File(wrong(&path, &error.to_string(), "name a readable file with --config")));
        }
    };
    let file = |why: String, fix: &str| Unparsed::File(wrong(&path, &why, fix));
    let settings =
        read(&text).map_err(|why| file(why, "wanted `option: value`, as `axle-agent run --help` names them"))?;
    let matches = with_defaults(Arguments::command(), &settings).try_get_matches_from(line);
    let parsed = matches.and_then(|matches| Arguments::from_arg_matches(&matches));
    parsed.map_err(|error| file(error.to_string().trim_end().to_owned(), "correct that value"))
}

fn wrong(path: &Path, why: &str, fix: &str) -> Failure {
    Failure::new(Exit::Usage, format!("{}: {why}", path.display()), fix)
}

fn read(text: &str) -> Result<Settings, String> {
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Settings::new());
    }
    let values: BTreeMap<String, Value> = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let arguments = Arguments::command();
    let run = arguments.find_subcommand("run").ok_or("there is no command `run`")?;
    let known: Vec<&str> = run.get_arguments().filter_map(clap::Arg::get_long).collect();
    let setting = |(name, value): (String, Value)| {
        if !known.contains(&name.as_str()) {
            return Err(format!("unknown setting {name:?}; known are {}", known.join(", ")));
        }
        let values = texts(&value).ok_or_else(|| format!("{name}: {value} is no text, number or list of these"))?;
        Ok((name, values))
    };
    values.into_iter().map(setting).collect()
}

/// A text, a number, or a list of these; pairs as `KEY=VALUE`.
fn texts(value: &Value) -> Option<Vec<String>> {
    let one = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(yes) => Some(yes.to_string()),
        _ => None,
    };
    match value {
        Value::Array(items) => items.iter().map(one).collect(),
        Value::Object(pairs) => pairs.iter().map(|(key, value)| Some(format!("{key}={}", one(value)?))).collect(),
        other => one(other).map(|text| vec![text]),
    }
}

/// The commands with these defaults, wherever one has such an option.
fn with_defaults(mut command: Command, settings: &Settings) -> Command {
    let options = command.get_arguments().filter_map(|option| {
        let values = settings.get(option.get_long()?)?;
        Some((option.get_id().clone(), values.clone()))
    });
    for (id, values) in options.collect::<Vec<_>>() {
        // Once for the life of the process.
        let values = values.into_iter().map(|value| &*value.leak());
        command = command.mut_arg(id, |option| option.default_values(values));
    }
    let names: Vec<String> = command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
    names
        .into_iter()
        .fold(command, |command, name| command.mut_subcommand(name, |below| with_defaults(below, settings)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::command;

    fn run(text: &str, line: &str) -> Result<command::RunArguments, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.yaml");
        fs::write(&path, text).unwrap();
        let line = format!("axle-agent run --config {} {line}", path.display());
        let line: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        match parse(&line) {
            Ok(Arguments { command: command::Command::Run(arguments), .. }) => Ok(*arguments),
            Ok(other) => panic!("{other:?}"),
            Err(Unparsed::Line(error)) => panic!("{error}"),
            Err(Unparsed::File(failure)) => Err(failure.message),
        }
    }

    #[test]
    fn options_win_over_the_file() {
        let text = "# of this machine\nheartbeat: 3s\nrescan: 7s\nnode-address: [192.0.2.1, \"2001:db8::1\"]\n\
                    node-label: {zone: a, rack: 4}\nroles: [relay, node]\nhttp-listen: \"off\"\n";
        let arguments = run(text, "--rescan 9s").unwrap();
        assert_eq!((arguments.heartbeat, arguments.rescan), (Duration::from_secs(3), Duration::from_secs(9)));
        assert_eq!((arguments.node_addresses.len(), arguments.roles.len()), (2, 2));
        let labels: BTreeMap<String, String> = arguments.node_labels.into_iter().collect();
        assert_eq!(labels, [("rack", "4"), ("zone", "a")].map(|(key, value)| (key.into(), value.into())).into());
        assert_eq!(arguments.http_listen, command::arguments::HttpListen::Off);
        assert_eq!(run("", "").unwrap().heartbeat, Duration::from_secs(10));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_file() {
        for (text, wanted) in [
            ("heartbeet: 3s", &["agent.yaml", "unknown setting \"heartbeet\"", "heartbeat"][..]),
            ("heartbeat: soon", &["agent.yaml", "soon", "--heartbeat"]),
            ("heartbeat: {a: [1]}", &["agent.yaml", "heartbeat"]),
            ("heartbeat: 3s\nheartbeat: 4s", &["agent.yaml", "heartbeat"]),
            ("- heartbeat", &["agent.yaml"]),
            ("http-listen: 0.0.0.0:7081", &["agent.yaml", "loopback"]),
        ] {
            let message = run(text, "").expect_err(text);
            assert!(wanted.iter().all(|part| message.contains(part)), "{text}: {message}");
        }
    }

    #[test]
    fn a_file_that_was_named_must_be_there() {
        let line = ["axle-agent", "status", "--config", "/nowhere/agent.yaml"].map(OsString::from);
        let Err(Unparsed::File(failure)) = parse(&line) else { panic!("it is not") };
        assert!(failure.message.contains("/nowhere/agent.yaml: No such file"), "{}", failure.message);
    }
}
