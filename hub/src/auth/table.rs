//! The one table of what may be called and by whom. What is not in it may not be called.
use super::Role;

/// What an operation asks of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Public,
    /// A token with this role or a higher one.
    Role(Role),
    /// The certificate of an enrolled relay, in force.
    Relay,
    /// The certificate of an enrolled relay, in force or lately expired.
    Renewal,
}

/// One operation with all its doors.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// What it asks.
    pub need: Need,
    /// The gRPC methods, as `/package.Service/Method`.
    pub grpc: &'static [&'static str],
    /// The HTTP routes, as `METHOD /path` with axum's placeholders.
    pub http: &'static [&'static str],
}

const fn rule(need: Need, grpc: &'static [&'static str], http: &'static [&'static str]) -> Rule {
    Rule { need, grpc, http }
}

const VIEWER: Need = Need::Role(Role::Viewer);
const OPERATOR: Need = Need::Role(Role::Operator);
const ADMIN: Need = Need::Role(Role::Admin);

/// Every operation of the hub.
pub const RULES: &[Rule] = &[
    // Spokes.
    rule(Need::Public, &["/axle.v1.Enrollment/Enroll"], &[]),
    rule(Need::Renewal, &["/axle.v1.Enrollment/Renew"], &[]),
    rule(Need::Relay, &["/axle.v1.Sync/Sync", "/axle.v1.Sync/Report"], &[]),
    // Clusters.
    rule(ADMIN, &["/axle.v1.Admin/AddCluster"], &["POST /api/v1/clusters"]),
    rule(VIEWER, &["/axle.v1.Admin/ListClusters"], &["GET /api/v1/clusters"]),
    rule(ADMIN, &["/axle.v1.Admin/DrainCluster"], &["POST /api/v1/clusters/{name}/drain"]),
    rule(ADMIN, &["/axle.v1.Admin/RemoveCluster"], &["DELETE /api/v1/clusters/{name}"]),
    rule(ADMIN, &["/axle.v1.Admin/CreateToken"], &["POST /api/v1/clusters/{name}/tokens"]),
    rule(ADMIN, &["/axle.v1.Admin/RemoveNode"], &["DELETE /api/v1/clusters/{name}/nodes/{node}"]),
    // Who is believed.
    rule(ADMIN, &["/axle.v1.Admin/ListTokens"], &["GET /api/v1/tokens"]),
    rule(ADMIN, &["/axle.v1.Admin/RevokeToken"], &["DELETE /api/v1/tokens/{id}"]),
    rule(VIEWER, &["/axle.v1.Admin/GetAuthority"], &["GET /api/v1/authority"]),
    rule(ADMIN, &["/axle.v1.Admin/RotateAuthority"], &["POST /api/v1/authority"]),
    // What runs in them.
    rule(VIEWER, &["/axle.v1.Admin/ListIdentities"], &["GET /api/v1/identities"]),
    rule(VIEWER, &["/axle.v1.Admin/ListEndpoints"], &["GET /api/v1/endpoints"]),
    rule(VIEWER, &["/axle.v1.Admin/ListServices"], &["GET /api/v1/services"]),
    // Policies.
    rule(OPERATOR, &["/axle.v1.Admin/ApplyPolicies"], &["POST /api/v1/policies"]),
    rule(VIEWER, &["/axle.v1.Admin/ListPolicies"], &["GET /api/v1/policies"]),
    rule(OPERATOR, &["/axle.v1.Admin/SetPolicyDisabled"], &["PATCH /api/v1/policies/{name}"]),
    rule(OPERATOR, &["/axle.v1.Admin/DeletePolicy"], &["DELETE /api/v1/policies/{name}"]),
    rule(VIEWER, &["/axle.v1.Admin/Explain"], &["GET /api/v1/explain"]),
    rule(VIEWER, &["/axle.v1.Admin/DiffPolicies"], &["POST /api/v1/preview/diff"]),
    rule(VIEWER, &["/axle.v1.Admin/LintPolicies"], &["POST /api/v1/preview/lint"]),
    rule(VIEWER, &["/axle.v1.Admin/TestPolicies"], &["POST /api/v1/preview/test"]),
    rule(VIEWER, &["/axle.v1.Admin/PolicyHistory"], &["GET /api/v1/policies/{name}/history"]),
    rule(OPERATOR, &["/axle.v1.Admin/RollbackPolicy"], &["POST /api/v1/policies/{name}/rollback"]),
    // What goes on.
    rule(VIEWER, &["/axle.v1.Admin/GetStatus"], &["GET /api/v1/status"]),
    rule(VIEWER, &["/axle.v1.Admin/WatchRevision"], &["GET /api/v1/revisions/{revision}"]),
    rule(VIEWER, &["/axle.v1.Admin/Observe"], &["GET /api/v1/flows"]),
    rule(VIEWER, &["/axle.v1.Admin/ListAudit"], &["GET /api/v1/audit"]),
    rule(VIEWER, &[], &["GET /api/metrics"]),
    // What tools ask before they have a token.
    rule(
        Need::Public,
        &[
            "/grpc.health.v1.Health/Check",
            "/grpc.health.v1.Health/Watch",
            "/grpc.health.v1.Health/List",
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        ],
        &["GET /livez", "GET /readyz", "GET /api/v1/openapi.json", "GET /", "GET /dashboard/{file}", "GET /metrics"],
    ),
];

/// The rule of a gRPC method, by its exact path.
#[must_use]
pub fn grpc_rule(path: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.grpc.contains(&path))
}

/// The rule of an HTTP route, by its method and the path it was declared with.
#[must_use]
pub fn http_rule(method: &str, route: &str) -> Option<&'static Rule> {
    // Who may GET may ask for the headers alone.
    let method = if method == "HEAD" { "GET" } else { method };
    let wanted = Some((method, route));
    RULES.iter().find(|rule| rule.http.iter().any(|known| known.split_once(' ') == wanted))
}

/// The methods that some rule names for a route.
#[must_use]
pub fn http_methods(route: &str) -> Vec<&'static str> {
    let rows = RULES.iter().flat_map(|rule| rule.http).filter_map(|known| known.split_once(' '));
    rows.filter(|(_, path)| *path == route).map(|(method, _)| method).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use prost::Message;

    use super::*;

    #[test]
    fn every_grpc_method_has_one_row() {
        let files = prost_types::FileDescriptorSet::decode(axle_proto::DESCRIPTORS).unwrap();
        let services = files.file.iter().flat_map(|file| file.service.iter().map(move |service| (file, service)));
        let declared: HashSet<String> = services
            .flat_map(|(file, service)| {
                service
                    .method
                    .iter()
                    .map(move |method| format!("/{}.{}/{}", file.package(), service.name(), method.name()))
            })
            .collect();
        assert!(declared.len() > 15, "the descriptors hold the services");
        for path in &declared {
            let rows = RULES.iter().filter(|rule| rule.grpc.contains(&path.as_str())).count();
            assert_eq!(rows, 1, "{path}");
        }
        let own = RULES.iter().flat_map(|rule| rule.grpc).filter(|path| path.starts_with("/axle."));
        for path in own {
            assert!(declared.contains(*path), "{path} is in the table and nowhere else");
        }
    }

    #[test]
    fn no_route_has_two_rows() {
        let mut seen = HashSet::new();
        for route in RULES.iter().flat_map(|rule| rule.http) {
            assert!(seen.insert(route), "{route}");
        }
    }

    #[test]
    fn what_only_looks_like_a_method_has_none() {
        for path in [
            "axle.v1.Admin/AddCluster",
            "//axle.v1.Admin/AddCluster",
            "/axle.v1.Admin//AddCluster",
            "/axle.v1.admin/AddCluster",
            "/axle.v1.Admin/AddCluster/",
            "/axle.v1.Admin%2fAddCluster",
            "/axle.v1.Enrollment/Enroll?",
            "",
        ] {
            assert!(grpc_rule(path).is_none(), "{path:?}");
        }
        assert!(http_rule("PUT", "/api/v1/policies").is_none());
        assert!(http_rule("HEAD", "/livez").is_some());
    }
}
