//! Pods that tests have. Each is labelled `called` with its name and `app` with the first word of it, as `client` of `client-2`.

/// It answers on port 8080 with `page`.
pub(crate) fn server(name: &str) -> String {
    pod(name, SERVES)
}

/// It does what it is told by `kubectl exec`.
pub(crate) fn sleeper(name: &str) -> String {
    pod(name, "exec sleep 86400")
}

/// `pod`, on the node of this name.
pub(crate) fn on(node: &str, pod: &str) -> String {
    pod.replace("spec:\n", &format!("spec:\n  nodeSelector: {{kubernetes.io/hostname: {node}}}\n"))
}

/// `pod`, in the namespace of this name.
pub(crate) fn within(namespace: &str, pod: &str) -> String {
    pod.replace("metadata: {", &format!("metadata: {{namespace: {namespace}, "))
}

/// It runs `script`.
pub(crate) fn pod(name: &str, script: &str) -> String {
    let app = name.split('-').next().unwrap_or(name);
    format!(
        r#"
---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {app}, called: {name}}}}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {{name: a, image: test.local/busybox:1, command: [sh, -c, "{script}"]}}
"#
    )
}

/// What a server runs.
pub(crate) const SERVES: &str = "echo page > /tmp/index.html; exec httpd -f -p 8080 -h /tmp";
