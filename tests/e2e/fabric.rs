//! The ground of all other tests: without any program of Axle's, every packet arrives.
use std::{net::SocketAddr, process::Command, time::Duration};

use axle_tests::{
    binaries,
    bpf::{Answer, Foreign, Hook, Order},
    eventually,
    fabric::{Fabric, Seat},
    probe::{self, ECHO, Flow, HTTP, Probe},
    process::{Process, tail},
};

const PATIENCE: Duration = Duration::from_secs(30);

fn serve(fabric: &Fabric, seat: &Seat, name: &str) -> anyhow::Result<Process> {
    let mut command = Command::new(binaries()?.join("axle-probe"));
    command.args(["serve", "--name", name, "--http", &HTTP.to_string(), "--echo", &ECHO.to_string()]);
    let log = fabric.folder().join(format!("{name}.log"));
    let process = Process::start(name, command, &seat.place, &log)?;
    eventually("the server to listen", PATIENCE, || {
        anyhow::ensure!(tail(&log, 1) == "ready", "it is not ready");
        Ok(())
    })?;
    Ok(process)
}

#[test]
fn workloads_reach_each_other_and_addresses_move() -> anyhow::Result<()> {
    let mut fabric = Fabric::new(&format!("fabric-{}", std::process::id()))?;
    let (one, two) = (fabric.host("n1")?, fabric.host("n2")?);
    let client = fabric.workload(&one, "client", ["10.1.1.1".parse()?, "fd00:1::1:1".parse()?])?;
    let old = fabric.workload(&two, "server", ["10.1.2.1".parse()?, "fd00:1::2:1".parse()?])?;
    let server = serve(&fabric, &old, "old")?;
    for to in old.addresses {
        assert_eq!(probe::get(binaries()?, &client.place, to, HTTP, PATIENCE)?, "old");
        for flow in [Flow::Udp, Flow::UdpUnconnected, Flow::Tcp] {
            let probe = Probe::start(binaries()?, &client.place, flow, SocketAddr::new(to, ECHO))?;
            probe.await_traffic(100, PATIENCE)?;
            probe.finish()?.check_whole(100)?;
        }
    }
    server.kill()?;
    let refused = probe::get(binaries()?, &client.place, old.addresses[0], HTTP, PATIENCE).unwrap_err();
    assert_eq!(refused.to_string(), "refused");

    let addresses = old.addresses;
    old.remove()?;
    let new = fabric.workload(&one, "server", addresses)?;
    let _server = serve(&fabric, &new, "new")?;
    for to in addresses {
        assert_eq!(probe::get(binaries()?, &client.place, to, HTTP, PATIENCE)?, "new");
    }
    Ok(())
}

#[test]
fn somebody_elses_program_drops_packets() -> anyhow::Result<()> {
    let mut fabric = Fabric::new(&format!("foreign-{}", std::process::id()))?;
    let host = fabric.host("n1")?;
    let client = fabric.workload(&host, "client", ["10.1.1.1".parse()?, "fd00:1::1:1".parse()?])?;
    let seat = fabric.workload(&host, "server", ["10.1.1.2".parse()?, "fd00:1::1:2".parse()?])?;
    let _server = serve(&fabric, &seat, "server")?;
    let get = |patience| probe::get(binaries()?, &client.place, seat.addresses[0], HTTP, patience);
    for hook in [Hook::Ingress, Hook::Egress] {
        let content = Foreign::attach(&host.netns, &seat.interface, hook, Order::First, Answer::Next)?;
        assert_eq!(get(PATIENCE)?, "server");
        let hostile = Foreign::attach(&host.netns, &seat.interface, hook, Order::Last, Answer::Drop)?;
        assert!(get(Duration::from_millis(200)).unwrap_err().to_string().contains("timed out"));
        drop((content, hostile));
        assert_eq!(get(PATIENCE)?, "server");
    }
    Ok(())
}
