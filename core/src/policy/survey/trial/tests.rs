//! Every kind of end, and every way in which an assertion may come out.
use super::*;
use crate::{
    manifest,
    model::Scope,
    policy::fixture::{EAST, WEST, namespace, policy, put_policy, workload, world},
};

fn fleet() -> World {
    let mut world = world();
    for home in [EAST, WEST] {
        namespace(&mut world, home, "shop", &[("team", "red")]);
    }
    workload(&mut world, EAST, "shop", "10.1.1.1", &[("app", "web"), ("tier", "front")]);
    workload(&mut world, EAST, "shop", "10.1.1.2", &[("app", "db")]);
    workload(&mut world, WEST, "shop", "10.2.1.1", &[("app", "web")]);
    let rules = "ingress: [{name: web, action: Accept, from: [{clusters: {names: [east]}, pods: {podSelector: {matchLabels: {app: web}}}}],
                            protocols: [{tcp: {destinationPort: {number: 5432}}}]},
                           {name: rest, action: Deny, from: [{networks: [0.0.0.0/0]}]}]";
    let subject = "subject: {pods: {podSelector: {matchLabels: {app: db}}}}";
    policy(&mut world, Scope::Fleet, "guard", &format!("tier: Admin, priority: 1, {subject}, {rules}"));
    let front = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: front, namespace: shop}\n\
                 spec: {podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {matchLabels: {app: db}}}]}]}\n";
    put_policy(&mut world, Scope::Fleet, manifest::parse_policies(front).unwrap().remove(0));
    world
}

fn run(assertion: &str) -> Trial {
    let text = format!(
        "apiVersion: axle.dev/v1alpha1\nkind: PolicyTest\nmetadata: {{name: t}}\nspec: {{assertions: [{{{assertion}}}]}}\n"
    );
    let tests = manifest::parse_applied(&text).unwrap_or_else(|faults| panic!("{faults:#?}")).tests;
    let world = fleet();
    let policies: Vec<_> = world.policies().collect();
    try_tests(&world, &policies, tests.iter()).remove(0).result
}

#[test]
fn what_holds() {
    for (assertion, flows) in [
        (
            "from: {namespace: shop, clusters: [east], labels: {app: web}}, to: {address: 10.1.1.2}, port: 5432, verdict: Accept",
            1,
        ),
        (
            "from: {namespace: shop, labels: {app: web}}, to: {address: 10.1.1.2}, port: 80, verdict: Deny, rule: guard/rest",
            2,
        ),
        (
            "from: {address: 192.0.2.1}, to: {workload: east/shop/w}, port: 5432, verdict: Deny, rule: 'guard/ingress[1]'",
            1,
        ),
        (
            "from: {namespace: shop, clusters: [east], labels: {app: web}}, to: {namespace: shop, labels: {app: db}}, port: 5432, verdict: Accept, rule: guard",
            2,
        ),
        (
            "from: {namespace: shop, clusters: [west], labels: {app: cron}}, to: {address: 10.1.1.2}, protocol: ICMP, type: 8, verdict: Deny",
            1,
        ),
    ] {
        assert_eq!(run(assertion), Trial::Holds { flows }, "{assertion}");
    }
}

#[test]
fn what_does_not_hold_says_which_flow_and_who_decides() {
    let west = run("from: {namespace: shop, labels: {app: web}}, to: {address: 10.1.1.2}, port: 5432, verdict: Accept");
    let Trial::Broken(broken) = west else { panic!("{west:?}") };
    assert_eq!((broken.from.as_str(), broken.got, broken.not_by), ("west/shop/w", Verdict::Deny, None));
    assert!(
        matches!(broken.ends[..], [(Direction::Egress, _), (Direction::Ingress, Ruling { reason: Reason::Rule(id), .. })] if id.index == 1),
        "{:?}",
        broken.ends
    );
    let other =
        run("from: {workload: west/shop/w}, to: {address: 10.1.1.2}, port: 5432, verdict: Deny, rule: guard/web");
    let Trial::Broken(broken) = other else { panic!("{other:?}") };
    assert_eq!((broken.got, broken.not_by.is_some()), (Verdict::Deny, true), "right, but by another rule");
}

#[test]
fn a_rule_of_a_policy_with_a_namespace_goes_by_either_name() {
    let by = |rule| {
        run(&format!(
            "from: {{address: 10.1.1.2}}, to: {{workload: west/shop/w}}, port: 80, verdict: Accept, rule: {rule}"
        ))
    };
    for rule in ["front", "'front/ingress[0]'", "shop/front", "'shop/front/ingress[0]'"] {
        assert_eq!(by(rule), Trial::Holds { flows: 1 }, "{rule}");
    }
    for rule in ["shop", "shop/guard", "shop/front/web", "back/front", "'front/ingress[1]'"] {
        assert!(matches!(by(rule), Trial::Broken(broken) if broken.not_by.is_some()), "{rule}");
    }
}

#[test]
fn what_is_missing_is_named_with_what_is_like_it() {
    for (assertion, code, fix) in [
        (
            "from: {workload: east/shop/v}, to: {address: 10.1.1.2}, port: 1, verdict: Deny",
            "unknown_workload",
            "east/shop/w",
        ),
        (
            "from: {namespace: shop, clusters: [eats], labels: {}}, to: {address: 10.1.1.2}, port: 1, verdict: Deny",
            "unknown_cluster",
            "east",
        ),
        (
            "from: {namespace: shpo, labels: {}}, to: {address: 10.1.1.2}, port: 1, verdict: Deny",
            "unknown_namespace",
            "shop",
        ),
        ("from: {address: 'fd00::1'}, to: {address: 10.1.1.2}, port: 1, verdict: Deny", "family", ""),
    ] {
        let Trial::Missing(missing) = run(assertion) else { panic!("{assertion}") };
        assert_eq!(missing.code, code);
        assert!(missing.fix.contains(fix), "{missing:?}");
    }
}

#[test]
fn bad_tests_are_refused_with_place_and_mending() {
    let parse = |spec: &str| {
        let text = format!("apiVersion: axle.dev/v1alpha1\nkind: PolicyTest\nmetadata: {{name: t}}\nspec: {spec}\n");
        manifest::parse_applied(&text).unwrap_err()
    };
    let good = "from: {address: 10.1.1.1}, to: {address: 10.1.1.2}, port: 1, verdict: Deny";
    for (spec, field, part) in [
        ("{assertions: []}".to_owned(), "spec.assertions", "say what must hold"),
        (format!("{{asertions: [{{{good}}}]}}"), "spec", "assertions"),
        (format!("{{assertions: [{{{}}}]}}", good.replace("Deny", "deny")), "spec.assertions[0].verdict", "Deny"),
        (format!("{{assertions: [{{{}}}]}}", good.replace("port: 1", "port: 0")), "spec.assertions[0].port", ""),
        (
            format!("{{assertions: [{{{}}}]}}", good.replace("{address: 10.1.1.1}", "{}")),
            "spec.assertions[0].from",
            "workload",
        ),
        (format!("{{assertions: [{{{}, rule: /x}}]}}", good), "spec.assertions[0].rule", ""),
    ] {
        let faults = parse(&spec);
        assert!(
            faults.iter().any(|fault| fault.field.starts_with(field) && fault.to_string().contains(part)),
            "{spec}: {faults:#?}"
        );
    }
}
