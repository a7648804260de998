use axle_core::model::Name;
use serde_json::json;

use super::*;

fn import() -> Raw<ServiceImport> {
    serde_json::from_value(json!({"metadata": {"namespace": "shop", "name": "web", "uid": "u1"}, "spec": {}})).unwrap()
}

fn share(cluster: &str, port: u16) -> Share {
    let ports = vec![NamedPort { name: "http".into(), protocol: Protocol::Tcp, port }];
    Share { cluster: Name::new(cluster).unwrap(), family: Family::V4, ports }
}

fn backends(numbers: impl IntoIterator<Item = u32>) -> BTreeMap<IpAddr, BackendEndpoint> {
    let one = |number: u32| {
        let address = IpAddr::from((0x0a00_0000 + number).to_be_bytes());
        let ready = BackendEndpoint { addresses: vec![address], ready: true, serving: true, ..Default::default() };
        (address, ready)
    };
    numbers.into_iter().map(one).collect()
}

/// An API server for slices.
#[derive(Default)]
struct Store {
    slices: BTreeMap<String, Arc<EndpointSlice>>,
    version: u32,
}

impl Store {
    fn there(&self) -> Vec<Arc<EndpointSlice>> {
        self.slices.values().cloned().collect()
    }

    /// Carries writes out and counts them: created, replaced, deleted.
    fn take(&mut self, writes: Vec<Write>) -> [usize; 3] {
        let mut counts = [0; 3];
        for write in writes {
            self.version += 1;
            match write {
                Write::Create(mut slice) | Write::Replace(mut slice) => {
                    let name = slice.metadata.name.clone().unwrap();
                    let held = self.slices.get(&name);
                    let seen = held.and_then(|held| held.metadata.resource_version.clone());
                    assert_eq!(slice.metadata.resource_version, seen, "made once, and replaced as it was seen");
                    counts[usize::from(held.is_some())] += 1;
                    slice.metadata.resource_version = Some(self.version.to_string());
                    assert!(slice.endpoints.len() <= MOST && !slice.endpoints.is_empty());
                    self.slices.insert(name, Arc::new(*slice));
                }
                Write::Delete((_, name), _) => {
                    counts[2] += 1;
                    assert!(self.slices.remove(&name).is_some());
                }
            }
        }
        counts
    }

    fn bring(&mut self, shares: &Shares) -> [usize; 3] {
        let counts = self.take(writes(&import(), shares, &self.there(), &BTreeSet::new()));
        let all = self.slices.values().flat_map(|slice| &slice.endpoints).map(|endpoint| endpoint.addresses[0].clone());
        let mut all: Vec<String> = all.collect();
        all.sort();
        let mut wanted: Vec<String> = shares.values().flat_map(BTreeMap::keys).map(ToString::to_string).collect();
        wanted.sort();
        assert_eq!(all, wanted, "each backend stands in one slice");
        assert!(
            writes(&import(), shares, &self.there(), &BTreeSet::new()).is_empty(),
            "what is right is not written again"
        );
        counts
    }
}

#[test]
fn a_slice_says_what_it_is() {
    let mut store = Store::default();
    let mut one = backends([7]);
    one.values_mut().for_each(|backend| (backend.hostname, backend.zone) = ("web-0".into(), "a".into()));
    assert_eq!(store.bring(&[(share("lima", 8080), one)].into()), [1, 0, 0]);
    let slice = serde_json::to_value(&*store.there()[0]).unwrap();
    assert_eq!(
        slice["metadata"]["labels"],
        json!({
            "multicluster.kubernetes.io/service-name": "web",
            "multicluster.kubernetes.io/source-cluster": "lima",
            "endpointslice.kubernetes.io/managed-by": "axle-agent",
            "service.kubernetes.io/service-proxy-name": "axle-agent",
        })
    );
    let owner = &slice["metadata"]["ownerReferences"][0];
    assert_eq!((&owner["kind"], &owner["uid"]), (&json!("ServiceImport"), &json!("u1")));
    assert_eq!((&slice["addressType"], slice["ports"][0]["port"].as_u64()), (&json!("IPv4"), Some(8080)));
    let wanted = json!({
        "addresses": ["10.0.0.7"], "conditions": {"ready": true, "serving": true, "terminating": false},
        "hostname": "web-0", "zone": "a",
    });
    assert_eq!(slice["endpoints"], json!([wanted]));
    let name = store.there()[0].metadata.name.clone().unwrap();
    let steps = writes(&import(), &[(share("lima", 8080), backends([7]))].into(), &[], &[name.clone()].into());
    let [Write::Create(next)] = &steps[..] else { panic!("{steps:?}") };
    assert_ne!(next.metadata.name.as_ref(), Some(&name), "what has its name is not ours");
    assert_eq!(import_of(&store.there()[0]), ("shop".to_owned(), "web".to_owned()));
}

#[test]
fn a_change_writes_the_slices_that_it_concerns() {
    let mut store = Store::default();
    let of = |numbers: Vec<u32>| Shares::from([(share("lima", 80), backends(numbers))]);
    assert_eq!(store.bring(&of((0..250).collect())), [3, 0, 0]);
    assert_eq!(store.bring(&of((0..251).collect())), [0, 1, 0], "there is room in one");
    assert_eq!(store.bring(&of((0..251).filter(|number| *number != 7).collect())), [0, 1, 0]);
    assert_eq!(store.bring(&of((0..251).filter(|number| *number != 8).collect())), [0, 1, 0], "in its place");
    let mut tired = of((0..251).filter(|number| *number != 8).collect());
    tired.values_mut().for_each(|all| all.values_mut().take(1).for_each(|one| one.ready = false));
    assert_eq!(store.bring(&tired), [0, 1, 0], "readiness");
    assert_eq!(store.bring(&of((200..251).collect())), [0, 0, 2]);
    assert_eq!(store.bring(&of((200..600).collect()))[1..], [1, 0]);
    assert_eq!(store.bring(&Shares::new())[..2], [0, 0]);
    assert!(store.slices.is_empty());
}

#[test]
fn clusters_families_and_ports_have_slices_of_their_own() {
    let mut store = Store::default();
    let mut v6 = share("lima", 80);
    v6.family = Family::V6;
    let v6_backends = [("fd00::7".parse().unwrap(), BackendEndpoint { ready: true, ..BackendEndpoint::default() })];
    let all: Shares = [
        (share("lima", 80), backends([1])),
        (share("oslo", 80), backends([2])),
        (share("lima", 81), backends([3])),
        (v6, v6_backends.into()),
    ]
    .into();
    assert_eq!(store.bring(&all), [4, 0, 0]);
    // A port that changes: the new slice is there before the old one goes.
    let moved: Shares = [(share("lima", 82), backends([1]))].into();
    let steps = writes(&import(), &moved, &store.there(), &BTreeSet::new());
    assert!(matches!(&steps[..], [Write::Create(_), Write::Delete(..), ..]), "{steps:?}");
    assert_eq!(store.take(steps), [1, 0, 4]);
    // An import that was made anew owns what was its predecessor's.
    let mut anew = import();
    anew.metadata.uid = Some("u2".into());
    assert_eq!(store.take(writes(&anew, &moved, &store.there(), &BTreeSet::new())), [0, 1, 0]);
    assert_eq!(store.take(deletes(&store.there())), [0, 0, 1]);
}

#[test]
fn what_somebody_spoiled_is_made_right() {
    let mut store = Store::default();
    let wanted: Shares = [(share("lima", 80), backends(0..3))].into();
    store.bring(&wanted);
    let mut spoiled = EndpointSlice::clone(&store.there()[0]);
    spoiled.endpoints[1].addresses = vec!["192.0.2.1".into()];
    spoiled.endpoints.swap(0, 2);
    store.slices.insert(spoiled.metadata.name.clone().unwrap(), Arc::new(spoiled));
    assert_eq!(store.bring(&wanted), [0, 1, 0]);
}

#[test]
fn labels_of_others_change_nothing_and_a_name_is_not_asked_for_twice() {
    let mut store = Store::default();
    let wanted: Shares = [(share("lima", 80), backends(0..3))].into();
    store.bring(&wanted);
    let mut labelled = EndpointSlice::clone(&store.there()[0]);
    let name = labelled.metadata.name.clone().unwrap();
    let labels = labelled.metadata.labels.as_mut().unwrap();
    labels.insert("team".into(), "a".into());
    store.slices.insert(name.clone(), Arc::new(labelled.clone()));
    assert_eq!(store.bring(&wanted), [0, 0, 0]);
    // What is not a share's any more goes only after another one took its place.
    labelled.metadata.labels.as_mut().unwrap().insert(SOURCE.into(), "oslo".into());
    store.slices.insert(name.clone(), Arc::new(labelled));
    assert_eq!(store.bring(&wanted), [1, 0, 1]);
    assert!(!store.slices.contains_key(&name));
}
