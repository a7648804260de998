use std::path::Path;

use axle_core::{
    manifest,
    model::{self, NamedPort, PortTarget, Protocol},
};

use super::*;
use crate::merged_log::{Feed, Ownership};

const CLUSTER: Uid = Uid([1; 16]);

fn inventory(text: &str) -> Inventory {
    Inventory { documents: manifest::parse(text).unwrap(), complete: true, ..Inventory::default() }
}

fn fresh() -> impl FnMut() -> Uid {
    let mut next = 0_u8;
    move || {
        next += 1;
        Uid([next; 16])
    }
}

fn this_node() -> ThisNode {
    let machine = Machine { labels: Labels::new(), addresses: vec![IpAddr::from([192, 0, 2, 1])] };
    ThisNode { name: Name::new("n1").unwrap(), machine: Some(machine) }
}

fn node_log(directory: &Path) -> MergedLog {
    let ownership = Ownership::Node { cluster: CLUSTER, node: this_node().name };
    MergedLog::open(directory, ownership, Uid([9; 16])).unwrap().0
}

fn workload(name: &str, address: &str) -> String {
    format!(
        "apiVersion: axle.dev/v1alpha1\nkind: Workload\nmetadata: {{name: {name}, namespace: shop}}\n\
         spec: {{interface: veth-{name}, addresses: [{address}], ports: [{{name: http, protocol: TCP, port: 80}}]}}\n---\n"
    )
}

fn endpoints(log: &MergedLog) -> Vec<(String, Uid, u64)> {
    let scope = Scope::Cluster(CLUSTER);
    let of = |object: &Object| match &*object.resource {
        Resource::Endpoint(endpoint) => (endpoint.name.to_string(), object.uid, endpoint.started_ms),
        _ => unreachable!(),
    };
    let mut all: Vec<_> = log.contents().list_in(Kind::Endpoint, scope).map(of).collect();
    all.sort();
    all
}

#[test]
fn a_uid_lives_as_long_as_its_workload_and_never_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut draw = fresh();
    let mut log = node_log(directory.path());
    let mut take = |log: &mut MergedLog, inventory: &Inventory, now| {
        let objects = NodeObjects::of(inventory, log, &this_node(), now, &mut draw);
        let _ = log.take(&Feed::Local, objects.batch, None, None);
        objects.interfaces
    };
    let two = inventory(&(workload("a", "10.0.0.1") + &workload("b", "10.0.0.2")));
    let interfaces = take(&mut log, &two, 5);
    let first = endpoints(&log);
    assert_eq!(first.len(), 2);
    assert_eq!(interfaces[&first[0].1], "veth-a");
    // A restart, a change, an unreadable directory: the same incarnations.
    let mut log = node_log(directory.path());
    take(&mut log, &inventory(&(workload("a", "10.0.0.9") + &workload("b", "10.0.0.2"))), 6);
    assert_eq!(endpoints(&log), first);
    take(&mut log, &Inventory::unreadable("gone"), 7);
    assert_eq!(endpoints(&log), first);
    // Gone and back: another.
    take(&mut log, &inventory(&workload("a", "10.0.0.1")), 8);
    assert_eq!(endpoints(&log), first[..1]);
    take(&mut log, &two, 9);
    let again = endpoints(&log);
    assert_eq!(again[0], first[0]);
    assert!(again[1].1 != first[1].1 && again[1].2 == 9, "{again:?}");
}

#[test]
fn who_says_which_incarnation_it_is_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = node_log(directory.path());
    let pod = |uid, interface: Option<&str>| {
        let mut inventory = inventory(&workload("a", "10.0.0.1"));
        let Document::Workload(workload) = &mut inventory.documents[0] else { panic!("{inventory:?}") };
        workload.incarnation = Some(Incarnation { uid: Uid([uid; 16]), started_ms: u64::from(uid) });
        workload.interface = interface.map(Into::into);
        inventory
    };
    let mut take = |inventory: &Inventory, node: &ThisNode| {
        let objects = NodeObjects::of(inventory, &log, node, 5, &mut fresh());
        let _ = log.take(&Feed::Local, objects.batch.clone(), None, None);
        let held = log.contents().list(Kind::Node).next().map(|node| node.uid);
        (objects, endpoints(&log), held)
    };
    let (objects, held, node) = take(&pod(50, None), &this_node());
    assert_eq!(held, [("a".to_owned(), Uid([50; 16]), 50)]);
    assert!(objects.interfaces.is_empty() && !objects.complete, "somebody's hook may be its");
    // Another of the same name, at the same address; and for a while nobody knows what the machine is.
    let unknown = ThisNode { machine: None, ..this_node() };
    let (objects, held, still) = take(&pod(51, Some("veth-a")), &unknown);
    assert_eq!((held.len(), node, objects.complete), (2, still, false), "nothing is taken away meanwhile");
    let (objects, held, _) = take(&pod(51, Some("veth-a")), &this_node());
    assert_eq!(held, [("a".to_owned(), Uid([51; 16]), 51)]);
    assert_eq!((objects.interfaces[&Uid([51; 16])].as_str(), objects.complete), ("veth-a", true));
}

#[test]
fn workloads_are_taken_whole() {
    let directory = tempfile::tempdir().unwrap();
    let log = node_log(directory.path());
    let objects = NodeObjects::of(&inventory(&workload("a", "10.0.0.1")), &log, &this_node(), 5, &mut fresh());
    let Batch::Whole(filed) = objects.batch else { panic!("complete") };
    assert_eq!(filed.len(), 2, "the node itself and its workload");
    let Resource::Endpoint(endpoint) = &*filed[1].resource else { panic!("{filed:?}") };
    assert_eq!(endpoint.node, this_node().name);
    assert_eq!(endpoint.named_ports, [NamedPort { name: "http".into(), protocol: Protocol::Tcp, port: 80 }]);
    assert!(endpoint.ready);
}

const SERVICE: &str = "apiVersion: axle.dev/v1alpha1\nkind: Service\nmetadata: {name: api, namespace: shop}\n\
                       spec: {selector: {app: api}, ports: [{name: http, protocol: TCP, port: 80, targetPort: 8080}]}\n---\n";
const EXPORT: &str =
    "apiVersion: axle.dev/v1alpha1\nkind: ServiceExport\nmetadata: {name: api, namespace: shop}\n---\n";

#[test]
fn service_and_export_are_one_object_as_old_as_its_first_sight() {
    let directory = tempfile::tempdir().unwrap();
    let (mut log, _) = MergedLog::open(directory.path(), Ownership::Relay { cluster: CLUSTER }, Uid([9; 16])).unwrap();
    let mut draw = fresh();
    for now in [5, 6] {
        let objects = ClusterObjects::of(&inventory(&format!("{SERVICE}{EXPORT}")), &log, now, &mut draw);
        assert!(objects.problems.is_empty());
        let _ = log.take(&Feed::Local, objects.batch, None, None);
    }
    let held: Vec<&Object> = log.contents().iter().collect();
    let [object] = held[..] else { panic!("{held:?}") };
    let Resource::ServiceExport(export) = &*object.resource else { panic!("{object:?}") };
    assert_eq!((export.created_ms, export.ports[0].target.clone()), (5, PortTarget::Number(8080)));
    let objects = ClusterObjects::of(&inventory(EXPORT), &log, 7, &mut draw);
    assert!(objects.problems[0].contains("has no Service"), "{:?}", objects.problems);
    assert_eq!(objects.batch, Batch::Whole(vec![]));
}

/// The API server's slices name what no selector finds; what the hub would refuse is left out.
#[test]
fn backends_on_nodes_are_exported_beside_those_of_the_selector() {
    let directory = tempfile::tempdir().unwrap();
    let (mut log, _) = MergedLog::open(directory.path(), Ownership::Relay { cluster: CLUSTER }, Uid([9; 16])).unwrap();
    let name = |text: &str| Name::new(text).unwrap();
    let cluster = Resource::Cluster(model::Cluster {
        name: name("oslo"),
        region: String::new(),
        labels: Labels::new(),
        prefixes: vec!["10.1.0.0/16".parse().unwrap()],
        default_action: model::Action::Accept,
        draining: false,
    });
    let cluster = convert::object(cluster, Scope::Fleet, CLUSTER, 1);
    let _ = log.take(&Feed::Upstream, Batch::Whole(vec![cluster]), None, None);
    let addresses = ["10.1.9.1", "192.0.2.1"].map(|address| address.parse::<IpAddr>().unwrap());
    let node = Node { name: name("n1"), labels: Labels::new(), addresses: addresses.to_vec() };
    let node = convert::object(Resource::Node(node), Scope::Cluster(CLUSTER), Uid([8; 16]), 1);
    let _ = log.take(&Feed::Node(name("n1")), Batch::Whole(vec![node]), None, None);
    let endpoint = |address: &str| model::BackendEndpoint {
        addresses: vec![address.parse().unwrap()],
        ready: true,
        ..model::BackendEndpoint::default()
    };
    let endpoints = ["10.1.1.5", "10.1.9.1", "192.0.2.1"].map(endpoint).to_vec();
    let ports = vec![NamedPort { name: "http".into(), protocol: Protocol::Tcp, port: 8080 }];
    let (namespace, service) = (name("shop"), name("api"));
    let backends = Backends { endpoints, ports };
    let slice = EndpointSlice { namespace, name: name("api-1"), service, backends };
    let mut all = inventory(&format!("{SERVICE}{EXPORT}"));
    all.documents.push(Document::EndpointSlice(slice));
    for (sliced, wanted) in [(false, &[][..]), (true, &["10.1.9.1"])] {
        all.documents.iter_mut().for_each(|document| {
            if let Document::Service(service) = document {
                service.sliced = sliced;
            }
        });
        let Batch::Whole(filed) = ClusterObjects::of(&all, &log, 5, &mut fresh()).batch else { panic!("complete") };
        let Resource::ServiceExport(export) = &*filed[0].resource else { panic!("{filed:?}") };
        let listed = export.backends.iter().flat_map(|backends| &backends.endpoints);
        let listed: Vec<String> = listed.map(|backend| backend.addresses[0].to_string()).collect();
        assert_eq!((listed, export.selector.len()), (wanted.iter().map(ToString::to_string).collect(), 1));
    }
}

#[test]
fn a_namespace_that_only_workloads_name_is_there_once_the_inventory_is_known() {
    let directory = tempfile::tempdir().unwrap();
    let (mut relay, _) =
        MergedLog::open(directory.path(), Ownership::Relay { cluster: CLUSTER }, Uid([9; 16])).unwrap();
    let other = tempfile::tempdir().unwrap();
    let node = node_log(other.path());
    let objects = NodeObjects::of(&inventory(&workload("a", "10.0.0.1")), &node, &this_node(), 5, &mut fresh());
    let _ = relay.take(&Feed::Node(this_node().name), objects.batch, None, None);
    let unknown = ClusterObjects::of(&Inventory::unreadable("gone"), &relay, 6, &mut fresh());
    assert_eq!(unknown.batch, Batch::Part(vec![]), "its labels may stand in what cannot be read");
    let known = ClusterObjects::of(&inventory(""), &relay, 7, &mut fresh());
    let Batch::Whole(filed) = known.batch else { panic!("complete") };
    let Resource::Namespace(namespace) = &*filed[0].resource else { panic!("{filed:?}") };
    assert_eq!((namespace.name.as_str(), namespace.labels.len()), ("shop", 1));
}

/// A policy of the folder is the cluster's own, keeps its uid, and stays while anything in the folder cannot be read.
#[test]
fn policies_of_the_folder_are_the_clusters() {
    let directory = tempfile::tempdir().unwrap();
    let ownership = Ownership::Relay { cluster: CLUSTER };
    let (mut log, _) = MergedLog::open(directory.path(), ownership, Uid([9; 16])).unwrap();
    let mut draw = fresh();
    let mut take = |log: &mut MergedLog, inventory: &Inventory| {
        let objects = ClusterObjects::of(inventory, log, 1, &mut draw);
        let _ = log.take(&Feed::Local, objects.batch, None, None);
        let all = log.contents().list_in(Kind::Policy, Scope::Cluster(CLUSTER));
        all.map(|object| (object.key.to_string(), object.uid)).collect::<Vec<_>>()
    };
    let of_namespace = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: shop}\nspec: {podSelector: {}}\n---\n";
    let of_cluster = "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {name: p}\n\
         spec: {tier: Admin, priority: 1, subject: {namespaces: {}}}\n---\n";
    let both = take(&mut log, &inventory(&format!("{of_namespace}{of_cluster}")));
    assert_eq!(both.len(), 2, "a namespace's policy is another than the cluster's of the same name: {both:?}");
    let incomplete = Inventory { complete: false, ..inventory(of_cluster) };
    assert_eq!(take(&mut log, &incomplete), both);
    let one = take(&mut log, &inventory(of_cluster));
    assert_eq!(one.len(), 1);
    assert!(both.contains(&one[0]), "{one:?}");
    let at = log.contents().position();
    take(&mut log, &inventory(&format!("{SERVICE}{of_cluster}")));
    assert_eq!(log.contents().position(), at, "what is the same is no change: rules would get other ids");
    // What is there and cannot be understood stays as it was; the rest goes on.
    let held = [(None, Name::new("p").unwrap()), (None, Name::new("never-understood").unwrap())].into();
    let both = take(&mut log, &Inventory { held, ..inventory(of_namespace) });
    assert!(both.len() == 2 && both.contains(&one[0]), "{both:?}");
    let held = [(None, Name::new("p").unwrap())].into();
    let changed = of_cluster.replace("priority: 1", "priority: 2");
    take(&mut log, &Inventory { held, ..inventory(&changed) });
    let now = log.contents().list_in(Kind::Policy, Scope::Cluster(CLUSTER)).next().unwrap();
    assert!(matches!(&*now.resource, Resource::Policy(policy) if policy.priority == 2), "what is understood counts");
}

/// A version of the API that a cluster's upgrade dropped: nobody took the policies away.
#[test]
fn policies_of_a_kind_that_nobody_can_ask_for_any_more_stay() {
    let directory = tempfile::tempdir().unwrap();
    let ownership = Ownership::Relay { cluster: CLUSTER };
    let (mut log, _) = MergedLog::open(directory.path(), ownership, Uid([9; 16])).unwrap();
    let policy = |name: &str| {
        format!(
            "apiVersion: axle.dev/v1alpha1\nkind: MeshNetworkPolicy\nmetadata: {{name: {name}}}\n\
             spec: {{tier: Admin, priority: 1, subject: {{namespaces: {{}}}}, ingress: []}}\n---\n"
        )
    };
    let all = inventory(&(policy("clusternetworkpolicy.p") + &policy("q")));
    let mut take = |inventory: &Inventory| {
        let objects = ClusterObjects::of(inventory, &log, 1, &mut fresh());
        let _ = log.take(&Feed::Local, objects.batch, None, None);
        let names = log.contents().list(Kind::Policy).map(|object| object.key.name.to_string()).collect::<Vec<_>>();
        (names, objects.problems)
    };
    assert_eq!(take(&all).0.len(), 2);
    let unknown = Inventory { unknown: ["clusternetworkpolicy.".to_owned()].into(), ..inventory("") };
    let (names, problems) = take(&unknown);
    assert_eq!(names, ["clusternetworkpolicy.p"], "of other kinds what is gone is gone");
    assert!(problems.len() == 1 && problems[0].contains("clusternetworkpolicy.p any more: it stays"), "{problems:?}");
    assert_eq!(take(&inventory("")), (vec![], vec![]), "asked for and not there");
}
