//! Why a verdict is as it is: every rule that was asked, in the order of decision, and what it answered.
//!
//! The answers come from the oracle's own functions, so an explanation cannot differ from the verdict it explains.
use crate::{
    model::{Enforcement, Key, Name, Uid},
    policy::{
        decision::{Reason, RuleId, Ruling, Side},
        evaluate::{Case, Flow, ITSELF, STEPS, Step},
        matching::{Match, Miss},
        tables::Direction,
        world::{Party, World},
    },
};

/// Both ends of a flow, explained. An end that is no workload of the mesh has no say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The sender's end.
    pub egress: Option<Trace>,
    /// The receiver's end.
    pub ingress: Option<Trace>,
}

/// One end, explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// The endpoint whose end it is.
    pub workload: Uid,
    /// What it says.
    pub side: Side,
    /// The rules asked, up to and with the one that decided.
    pub asked: Vec<Asked>,
}

/// One rule and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// When it was asked.
    pub step: Step,
    /// Its policy's name.
    pub policy: Key,
    /// The rule.
    pub rule: RuleId,
    /// Its answer.
    pub matched: Match,
    /// The answer in words.
    pub why: String,
}

/// Explains what [`evaluate`](super::evaluate) says to a flow.
#[must_use]
pub fn explain(world: &World, flow: Flow) -> Explanation {
    let trace = |address, direction, peer| {
        let workload = world.subject_at(address)?;
        let case = Case::new(world, workload, direction, peer, flow.target);
        let itself = Trace { workload: workload.uid, side: ITSELF, asked: Vec::new() };
        Some(if case.is_itself() { itself } else { case.trace() })
    };
    Explanation {
        egress: trace(flow.from, Direction::Egress, flow.to),
        ingress: trace(flow.to, Direction::Ingress, flow.from),
    }
}

impl Case<'_> {
    fn trace(&self) -> Trace {
        let side = self.side();
        let mut asked = Vec::new();
        let before_all =
            matches!(side.ruling.reason, Reason::UnknownCluster | Reason::UnknownNamespace | Reason::ServiceAddress);
        for step in STEPS.into_iter().filter(|_| !before_all) {
            self.ask(step, &mut asked);
            if let Some(last) = asked.iter().position(|one| decided(side.ruling, one)) {
                asked.truncate(last + 1);
                break;
            }
            if step == Step::Namespace && matches!(side.ruling.reason, Reason::Isolated { .. }) {
                break;
            }
        }
        Trace { workload: self.local.uid, side, asked }
    }

    /// Asks every rule of a step, of policies that are not about this workload too.
    fn ask(&self, step: Step, asked: &mut Vec<Asked>) {
        let in_step = |scope, tier| Step::of(scope, tier) == step;
        let policies = self.world.policies();
        let mut policies: Vec<_> =
            policies.filter(|(object, policy)| !policy.disabled && in_step(object.key.scope, policy.tier)).collect();
        policies.sort_by_key(|(object, policy)| (policy.priority, &object.key.name, &object.key));
        for (object, policy) in policies {
            let scope = object.key.scope;
            let subject = self.world.subject_matches(scope, policy, &self.local);
            for (index, rule) in (0..).zip(self.rules(policy).unwrap_or_default()) {
                let (matched, mut why) = match subject {
                    Match::No(miss) => (subject, format!("the policy is not about this workload: {}", words(miss))),
                    _ => {
                        let matched = self.rule_matches(scope, rule);
                        (matched, answer(matched))
                    }
                };
                if policy.enforcement == Enforcement::Audit {
                    why.push_str(" (in audit: it does not decide)");
                }
                let rule = self.rule_id(object, index);
                asked.push(Asked { step, policy: object.key.clone(), rule, matched, why });
            }
        }
    }
}

fn decided(ruling: Ruling, one: &Asked) -> bool {
    ruling.reason == Reason::Rule(one.rule)
}

fn answer(matched: Match) -> String {
    match matched {
        Match::Yes => "peer and port match".into(),
        Match::Maybe => "it could match: the other side's labels are not known, so the strictest outcome counts".into(),
        Match::No(miss) => words(miss).into(),
    }
}

/// What did not match, in words. Of several peers it is the last one's.
fn words(miss: Miss) -> &'static str {
    match miss {
        Miss::Cluster => "another cluster",
        Miss::Namespace => "another namespace",
        Miss::NamespaceLabels => "the namespace's labels differ",
        Miss::Labels => "the labels differ",
        Miss::NotAWorkload => "the other side is no workload of the mesh, so it has no labels",
        Miss::NotANode => "the other side is no node",
        Miss::Address => "the address is in none of the networks",
        Miss::Identity => "another identity",
        Miss::NotABackend => "no backend of the service",
        Miss::DomainName => "no domain name of the rule is known to lead to the address",
        Miss::NotOutside => "domain names are for addresses outside the mesh only",
        Miss::NoPeers => "the rule has no peers",
        Miss::UnknownPeer => "the rule has a peer that this version does not know: it accepts nothing",
        Miss::Port => "another protocol or port",
    }
}

impl World {
    /// Who is at an address, for people: `workload east/shop/web-1`, `node east/n1`, `outside the mesh`.
    #[must_use]
    pub fn describe(&self, party: &Party<'_>) -> String {
        let cluster = |uid| self.cluster(uid).map_or_else(|| format!("{uid}"), |cluster| cluster.name.to_string());
        match party {
            Party::Workload(workload) => {
                let endpoint = workload.endpoint;
                format!("workload {}/{}/{}", cluster(workload.cluster), endpoint.namespace, endpoint.name)
            }
            Party::Node { cluster: uid, node } => format!("node {}/{}", cluster(*uid), node.name),
            Party::Unresolved { cluster: uid } => {
                format!("an address of {} that no workload is known at", cluster(*uid))
            }
            Party::Outside => "outside the mesh".into(),
            Party::ServiceAddress | Party::ClusterService => "a service address".into(),
            Party::UnknownCluster => "a workload or node of an unknown cluster".into(),
        }
    }

    /// The workload of this cluster, namespace and name, the newest if there are several.
    #[must_use]
    pub fn workload_named(&self, cluster: &Name, namespace: &Name, name: &Name) -> Option<super::Workload<'_>> {
        let of_cluster = |uid| self.cluster(uid).is_some_and(|each| each.name == *cluster);
        let named = self.workloads().filter(|workload| {
            let endpoint = workload.endpoint;
            endpoint.namespace == *namespace && endpoint.name == *name && of_cluster(workload.cluster)
        });
        named.max_by_key(|workload| (workload.endpoint.started_ms, workload.uid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::Scope,
        policy::{
            Verdict, evaluate,
            fixture::{EAST, WEST, name, namespace, policy, tcp, workload, world},
        },
    };

    #[test]
    fn every_earlier_rule_says_why_not() {
        let mut world = world();
        namespace(&mut world, EAST, "shop", &[("team", "red")]);
        let caller = workload(&mut world, EAST, "shop", "10.1.1.1", &[("app", "a")]);
        workload(&mut world, EAST, "shop", "10.1.1.2", &[("app", "b")]);
        let rules = "egress: [
            {name: ports, action: Deny, to: [{namespaces: {}}], protocols: [{udp: {}}]},
            {name: team, action: Deny, to: [{namespaces: {matchLabels: {team: blue}}}]},
            {name: outside, action: Deny, to: [{networks: [192.0.2.0/24]}]},
            {name: here, action: Deny, to: [{pods: {podSelector: {matchLabels: {app: b}}}}]},
            {name: never, action: Accept, to: [{namespaces: {}}]}]";
        let other =
            format!("tier: Admin, priority: 1, subject: {{namespaces: {{matchLabels: {{team: blue}}}}}}, {rules}");
        policy(&mut world, Scope::Fleet, "others", &other);
        let audit = format!("tier: Admin, priority: 2, enforcement: Audit, subject: {{namespaces: {{}}}}, {rules}");
        policy(&mut world, Scope::Fleet, "audited", &audit);
        let id = policy(
            &mut world,
            Scope::Fleet,
            "ours",
            &format!("tier: Admin, priority: 3, subject: {{namespaces: {{}}}}, {rules}"),
        );
        let flow = tcp("10.1.1.1", "10.1.1.2", 80);
        let explanation = explain(&world, flow);
        let egress = explanation.egress.unwrap();
        assert_eq!(egress.workload, caller);
        assert_eq!(Some(egress.side), evaluate(&world, flow).egress, "what is explained is what is enforced");
        let rule = RuleId { policy: id, revision: 7, direction: Direction::Egress, index: 3 };
        assert_eq!(egress.side.ruling, Ruling { verdict: Verdict::Deny, reason: Reason::Rule(rule) });
        let whys: Vec<_> = egress.asked.iter().map(|one| (one.policy.name.as_str(), one.why.as_str())).collect();
        assert_eq!(whys.len(), 5 + 5 + 4, "up to the one that decided: {whys:#?}");
        assert_eq!(whys[0], ("others", "the policy is not about this workload: the namespace's labels differ"));
        assert_eq!(whys[8], ("audited", "peer and port match (in audit: it does not decide)"));
        let ours: Vec<_> = whys[10..].iter().map(|(_, why)| *why).collect();
        let wanted = [
            "another protocol or port",
            "the namespace's labels differ",
            "the address is in none of the networks",
            "peer and port match",
        ];
        assert_eq!(ours, wanted);
        assert_eq!(explanation.ingress.unwrap().asked, [], "no policy has ingress rules");
    }

    #[test]
    fn parties_in_words() {
        let mut world = world();
        namespace(&mut world, EAST, "shop", &[]);
        workload(&mut world, EAST, "shop", "10.1.1.1", &[]);
        workload(&mut world, WEST, "shop", "10.2.1.1", &[]);
        for (address, words) in [
            ("10.1.1.1", "workload east/shop/w"),
            ("10.1.0.1", "node east/n1"),
            ("10.1.9.9", "an address of east that no workload is known at"),
            ("10.2.1.1", "an address of west that no workload is known at"),
            ("192.0.2.1", "outside the mesh"),
            ("240.0.0.1", "a service address"),
        ] {
            assert_eq!(world.describe(&world.party(address.parse().unwrap(), None)), words);
        }
        let found = world.workload_named(&name("east"), &name("shop"), &name("w"));
        assert_eq!(found.map(|workload| workload.cluster), Some(EAST));
        assert_eq!(world.workload_named(&name("north"), &name("shop"), &name("w")), None);
    }
}
