//! A cluster, spoken to by `kubectl`: it has the user's kubeconfig, plugins and proxies, and nothing else needs them.
use std::{
    io::{ErrorKind, Write as _},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::failure::{Exit, Failure};

/// Who owns the fields that are applied.
const MANAGER: &str = "axle";
/// How long the API server may take for one request.
const PATIENCE: &str = "--request-timeout=30s";

/// A context of the kubeconfig.
#[derive(Debug, Clone)]
pub(super) struct Kubectl {
    context: String,
}

impl Kubectl {
    pub(super) fn new(context: &str) -> Self {
        Self { context: context.to_owned() }
    }

    /// What kubectl prints.
    pub(super) fn run(&self, arguments: &[&str]) -> Result<String, Failure> {
        self.feed(arguments, "")
    }

    /// The same, with something to read.
    pub(super) fn feed(&self, arguments: &[&str], input: &str) -> Result<String, Failure> {
        let mut command = Command::new("kubectl");
        command.args(["--context", &self.context]).args(arguments);
        // These wait for more than an answer.
        if !matches!(arguments.first(), Some(&"delete" | &"exec")) {
            command.arg(PATIENCE);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| match error.kind() {
            ErrorKind::NotFound => Failure::usage("kubectl is not in the PATH, and the cluster is spoken to by it")
                .fix("install kubectl, or take what `axle cluster join --manifests` or `--values` prints"),
            _ => Failure::new(Exit::Internal, "kubectl", format!("kubectl cannot be started: {error}")),
        })?;
        if let Some(mut stdin) = child.stdin.take() {
            // Who does not read it all says why.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output();
        let output = output.map_err(|error| Failure::new(Exit::Internal, "kubectl", error.to_string()))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(failure(&self.context, arguments.first().unwrap_or(&""), &String::from_utf8_lossy(&output.stderr)))
    }

    /// An object or a list of them; `null` if there is none.
    pub(super) fn json(&self, arguments: &[&str]) -> Result<Value, Failure> {
        self.feed_json(&[arguments, &["--ignore-not-found"]].concat(), "")
    }

    fn feed_json(&self, arguments: &[&str], input: &str) -> Result<Value, Failure> {
        let text = self.feed(&[arguments, &["-o", "json"]].concat(), input)?;
        if text.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text)
            .map_err(|error| Failure::new(Exit::Internal, "kubectl", format!("kubectl printed no JSON: {error}")))
    }

    /// Applies documents at the API server, and says which objects differ afterwards.
    pub(super) fn apply(&self, documents: &str) -> Result<Vec<Change>, Failure> {
        let before = self.feed_json(&["get", "-f", "-", "--ignore-not-found"], documents)?;
        let manager = format!("--field-manager={MANAGER}");
        let after = self.feed_json(&["apply", "--server-side", &manager, "-f", "-"], documents)?;
        Ok(changes(&before, &after))
    }

    /// Which of these it may not do, each as `VERB RESOURCE`.
    pub(super) fn lacks(&self, namespace: &str, wanted: &[(&str, &str)]) -> Result<Vec<String>, Failure> {
        let mut lacking = Vec::new();
        for (verb, resource) in wanted {
            match self.run(&["auth", "can-i", verb, resource, "--namespace", namespace, "--quiet"]) {
                Ok(_) => {}
                // It says no by its exit code alone.
                Err(failure) if failure.message.is_empty() => lacking.push(format!("{verb} {resource}")),
                Err(failure) => return Err(failure),
            }
        }
        Ok(lacking)
    }
}

/// An object that was applied.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(super) struct Change {
    pub(super) object: String,
    /// `created`, `changed` or `unchanged`.
    pub(super) change: &'static str,
}

fn changes(before: &Value, after: &Value) -> Vec<Change> {
    let before: Vec<_> = items(before).iter().map(|object| (name(object), version(object))).collect();
    let change = |object: &Value| {
        let name = name(object);
        let change = match before.iter().find(|(known, _)| *known == name) {
            None => "created",
            Some((_, known)) if *known == version(object) => "unchanged",
            Some(_) => "changed",
        };
        Change { object: name, change }
    };
    items(after).iter().map(change).collect()
}

/// The objects of a list, or the one.
pub(super) fn items(value: &Value) -> &[Value] {
    match &value["items"] {
        Value::Array(items) => items,
        _ if value.is_object() => std::slice::from_ref(value),
        _ => &[],
    }
}

/// A text at a path; empty if there is none.
pub(super) fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn name(object: &Value) -> String {
    format!("{}/{}", text(object, "/kind"), text(object, "/metadata/name"))
}

/// What moves when somebody changes it: of objects with a status the generation, of others the version.
fn version(object: &Value) -> String {
    match &object["metadata"]["generation"] {
        Value::Number(generation) => generation.to_string(),
        _ => text(object, "/metadata/resourceVersion").to_owned(),
    }
}

/// What kubectl complains about, as one of our failures.
fn failure(context: &str, verb: &str, complaint: &str) -> Failure {
    let lines = complaint.lines().map(str::trim).filter(|line| !line.is_empty() && !is_noise(line));
    let complaint = lines.collect::<Vec<_>>().join("; ");
    let has = |words: &[&str]| words.iter().any(|word| complaint.contains(word));
    let (exit, code, fix) = if has(&["context was not found", "does not exist"]) && has(&["context"]) {
        (Exit::Usage, "kube_context", "kubectl config get-contexts shows those that there are".into())
    } else if has(&["error loading config file"]) {
        (Exit::Usage, "kubeconfig", "see that the file that KUBECONFIG names can be read, and is a kubeconfig".into())
    } else if has(&["(Forbidden)", "is forbidden", "orbidden:"]) {
        let fix = "ask who administers the cluster for this right, or to apply what --manifests prints";
        (Exit::Auth, "kube_forbidden", fix.into())
    } else if has(&["Unauthorized", "must be logged in", "getting credentials"]) {
        (Exit::Auth, "kube_unauthenticated", "log in at the cluster again".into())
    } else if has(&["Apply failed with", "conflict with \"", "conflicts with \""]) {
        let fix = "somebody else manages these fields: go on with what installed them, such as helm with what \
                   `axle cluster join --values` prints";
        (Exit::Conflict, "kube_conflict", fix.into())
    } else if has(&[
        "nable to connect",
        "was refused",
        "connection refused",
        "i/o timeout",
        "no such host",
        "context deadline",
    ]) {
        let fix = format!("see that the cluster can be reached from here: kubectl --context {context} version");
        (Exit::Unavailable, "kube_unavailable", fix)
    } else {
        (Exit::Internal, "kubectl", String::new())
    };
    let message = if complaint.is_empty() { complaint } else { format!("kubectl {verb}: {complaint}") };
    Failure::new(exit, code, message).fix(fix)
}

/// What client-go logs beside its complaint, and warnings.
fn is_noise(line: &str) -> bool {
    line.starts_with("Warning:") || (line.starts_with(['E', 'W', 'I']) && line.contains(".go:"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_complaint_is_told_by_its_code() {
        for (complaint, exit, code) in [
            ("error: context \"x\" does not exist", Exit::Usage, "kube_context"),
            ("Error in configuration: context was not found for specified context: x", Exit::Usage, "kube_context"),
            ("error: error loading config file \"/k\": open /k: permission denied", Exit::Usage, "kubeconfig"),
            (
                "Error from server (Forbidden): namespaces is forbidden: User \"u\" cannot create resource \"namespaces\"",
                Exit::Auth,
                "kube_forbidden",
            ),
            ("error: You must be logged in to the server (Unauthorized)", Exit::Auth, "kube_unauthenticated"),
            (
                "E1126 01:00:00.0 1 memcache.go:265] noise\nThe connection to the server h:1 was refused - did you specify the right host or port?",
                Exit::Unavailable,
                "kube_unavailable",
            ),
            ("error: Apply failed with 1 conflict: conflict with \"helm\": .spec", Exit::Conflict, "kube_conflict"),
            ("error: something else", Exit::Internal, "kubectl"),
        ] {
            let failure = failure("x", "get", complaint);
            assert_eq!((failure.exit, failure.code.as_str()), (exit, code), "{complaint}");
            assert!(!failure.message.contains("noise"), "{failure}");
        }
    }

    #[test]
    fn what_changed_is_told_from_what_did_not() {
        let object = |kind: &str, generation: Option<u64>, version: &str| {
            let mut object = json!({"kind": kind, "metadata": {"name": "a", "resourceVersion": version}});
            if let Some(generation) = generation {
                object["metadata"]["generation"] = generation.into();
            }
            object
        };
        let before = json!({"items": [object("Deployment", Some(1), "5"), object("Role", None, "6"), object("Job", Some(1), "7")]});
        let after = json!({"items": [
            object("Deployment", Some(1), "9"), object("Role", None, "8"), object("Job", Some(1), "7"), object("Secret", None, "9"),
        ]});
        let found = changes(&before, &after);
        let found: Vec<_> = found.iter().map(|change| (change.object.as_str(), change.change)).collect();
        let status_alone = ("Deployment/a", "unchanged");
        assert_eq!(found, [status_alone, ("Role/a", "changed"), ("Job/a", "unchanged"), ("Secret/a", "created")]);
        assert_eq!(changes(&Value::Null, &object("Role", None, "1"))[0].change, "created", "one is no list");
    }
}
