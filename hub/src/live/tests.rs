use super::*;

const CLUSTER: Uid = Uid([7; 16]);

fn spoke(live: &Live) -> Spoke {
    live.spokes().remove(&CLUSTER).unwrap()
}

#[test]
fn a_spoke_is_connected_while_one_of_its_sessions_lives() {
    let live = Live::new(Duration::from_secs(10));
    assert!(live.spokes().is_empty());
    let first = live.join(CLUSTER);
    let second = live.join(CLUSTER);
    second.received(5);
    second.statuses(vec![NodeStatus { node: "n1".into(), ..NodeStatus::default() }]);
    drop(first);
    assert!(spoke(&live).connected && spoke(&live).fresh);
    drop(second);
    let gone = spoke(&live);
    assert!(!gone.connected && !gone.fresh);
    assert_eq!((gone.received, gone.nodes.len()), (5, 1), "what it said is kept");
}

#[test]
fn changes_are_told() {
    let live = Live::new(Duration::from_secs(10));
    let changes = live.changes();
    let connection = live.join(CLUSTER);
    assert!(changes.has_changed().unwrap());
    drop(connection);
    live.forget(CLUSTER);
    assert!(live.spokes().is_empty());
}

#[test]
fn what_nodes_say_is_told_to_other_hubs_only_when_it_changes() {
    let live = Live::new(Duration::from_secs(3600));
    let tell = || {
        let (reports, told): (Vec<_>, Vec<_>) = live.due().into_iter().unzip();
        live.told(&told);
        reports.into_iter().map(|report| (report.received, report.statuses.is_some())).collect::<Vec<_>>()
    };
    let connection = live.join(CLUSTER);
    connection.statuses(vec![status("n1")]);
    assert_eq!((tell(), tell()), (vec![(0, true)], vec![]));
    connection.received(5);
    connection.statuses(vec![status("n1")]);
    assert_eq!((tell(), tell()), (vec![(5, false)], vec![]), "an acknowledgement, and nothing new of the nodes");
    connection.statuses(vec![NodeStatus { workloads: 7, ..status("n1") }]);
    assert_eq!(tell(), [(5, true)]);
    // What came between is told the next time.
    connection.received(6);
    let (_, told): (Vec<_>, Vec<_>) = live.due().into_iter().unzip();
    connection.received(7);
    live.told(&told);
    assert_eq!(tell(), [(7, false)]);
    drop(live.join(CLUSTER));
    assert_eq!(tell(), [(7, true)], "another hub may have had the word meanwhile");
}

fn status(node: impl Into<String>) -> NodeStatus {
    NodeStatus { node: node.into(), ..NodeStatus::default() }
}

#[test]
fn so_many_nodes_of_a_cluster_are_kept_and_no_more() {
    let live = Live::new(Duration::from_secs(10));
    let connection = live.join(CLUSTER);
    connection.statuses((0..MOST_NODES + 10).map(|n| status(format!("n{n}"))).collect());
    connection.statuses(vec![status("x".repeat(1 << 20)), status("no such name")]);
    assert_eq!(spoke(&live).nodes.len(), MOST_NODES);
    // Who is known goes on being heard.
    connection.statuses(vec![NodeStatus { workloads: 7, ..status("n1") }]);
    assert_eq!(spoke(&live).nodes["n1"].workloads, 7);
}

#[test]
fn a_node_that_was_removed_is_forgotten() {
    let live = Live::new(Duration::from_secs(10));
    live.join(CLUSTER).statuses(vec![status("n1"), status("n2")]);
    live.forget_node(CLUSTER, "n1");
    assert_eq!(spoke(&live).nodes.into_keys().collect::<Vec<_>>(), ["n2"]);
}

#[test]
fn a_flow_is_of_the_cluster_whose_certificate_brought_it() {
    let live = Live::new(Duration::from_secs(10));
    let mut flows = live.flows();
    let lie = Flow { cluster: vec![9; 16].into(), ..Flow::default() };
    live.report(CLUSTER, FlowBatch { flows: vec![lie], dropped: 3 });
    assert_eq!(flows.try_recv().unwrap().cluster, CLUSTER.0.to_vec());
    assert_eq!(live.lost(), 3);
}
