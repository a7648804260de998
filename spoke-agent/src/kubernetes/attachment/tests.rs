//! Without Kubernetes: workloads of a fabric, with processes in cgroups as a kubelet names them.
use std::{fs, path::PathBuf, process::Command};

use axle_tests::{
    fabric::{Fabric, Host, Seat},
    process::{Place as At, Process},
    scenario,
};

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

/// A process in `seat`'s network and in the cgroup of the pod `uid`.
fn run(fabric: &Fabric, host: &Host, seat: Option<&Seat>, uid: &str) -> anyhow::Result<Process> {
    let cgroup = host.cgroup.join(format!("kubepods/besteffort/pod{uid}/container"));
    fs::create_dir_all(&cgroup)?;
    let netns = seat.map_or(host.netns.path(), |seat| seat.netns.path());
    let mut command = Command::new("sleep");
    command.arg("600");
    Process::start("sleep", command, &At { netns: Some(netns), cgroup: Some(cgroup) }, &fabric.folder().join("log"))
}

fn seat(fabric: &Fabric, host: &Host, name: &str, number: u8) -> anyhow::Result<Seat> {
    fabric.workload(host, name, [format!("10.1.1.{number}").parse()?, format!("fd00:1::{number}").parse()?])
}

fn place(seat: &Seat) -> Place {
    Place { interface: seat.interface.clone(), addresses: seat.addresses.to_vec() }
}

fn pods(host: &Host) -> PathBuf {
    all_pods(&host.cgroup).expect("the cgroup of all pods")
}

#[test]
fn pods_are_found_by_their_processes_with_interface_and_addresses() -> anyhow::Result<()> {
    scenario(Fabric::new, Fabric::folder, |fabric| {
        let host = fabric.host("n1")?;
        let (one, two) = (seat(fabric, &host, "one", 1)?, seat(fabric, &host, "two", 2)?);
        let _running = [
            run(fabric, &host, Some(&one), "11")?,
            run(fabric, &host, Some(&two), "22")?,
            run(fabric, &host, None, "33")?,
        ];
        fs::create_dir_all(host.cgroup.join("kubepods/burstable/pod44"))?;
        let found = || host.netns.enter(|| places(&pods(&host)));
        let both: Places = [("11".to_owned(), place(&one)), ("22".to_owned(), place(&two))].into();
        assert_eq!(found()??, both, "33 is on the node's network, 44 has no process");

        one.remove()?;
        assert_eq!(found()??.into_keys().collect::<Vec<_>>(), ["22"]);
        Ok(())
    })
}

#[test]
fn an_announced_pod_is_known_at_once_and_for_as_long_as_it_has_its_interface() -> anyhow::Result<()> {
    scenario(Fabric::new, Fabric::folder, |fabric| {
        let host = fabric.host("n1")?;
        let told = seat(fabric, &host, "told", 1)?;
        let network = File::open(told.netns.path())?;
        let wanted = place(&told);
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build();
        host.netns.enter(|| {
            runtime()?.block_on(async {
                let attachments = Attachments::follow(&host.cgroup, HOUR);
                assert_eq!(attachments.announce("11", &File::open("/proc/self/ns/net")?)?, None, "no veth leads here");
                assert_eq!(attachments.announce("11", &network)?, Some(wanted.clone()));
                let mut seen = attachments.places();
                let known = |places: &Arc<Places>| places.get("11") == Some(&wanted);
                tokio::time::timeout(HOUR / 60, seen.wait_for(known)).await??;

                // It starts: found by its process, it need not be told any more.
                let process = run(fabric, &host, Some(&told), "11")?;
                let until = tokio::time::Instant::now() + HOUR / 60;
                while !attachments.announced.places.lock().is_empty() {
                    anyhow::ensure!(tokio::time::Instant::now() < until, "it is still announced");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                assert!(known(&seen.borrow()));
                process.kill()?;
                tokio::time::timeout(HOUR / 60, seen.wait_for(|places| places.is_empty())).await??;

                // Its network is unmade before it starts.
                attachments.announce("11", &network)?;
                tokio::time::timeout(HOUR / 60, seen.wait_for(known)).await??;
                told.remove()?;
                attachments.announced.changed.notify_one();
                tokio::time::timeout(HOUR / 60, seen.wait_for(|places| places.is_empty())).await??;
                anyhow::Ok(())
            })
        })?
    })
}
