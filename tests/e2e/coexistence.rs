//! Programs of others on the same interfaces, before and after ours.
use axle_tests::{
    bpf::{Answer, Foreign, Hook, Order},
    fleet::{Settings, scenario},
};

use crate::{
    documents::{deny_from, peers},
    pair::Pair,
};

#[test]
fn programs_before_and_after_ours_do_their_work() -> anyhow::Result<()> {
    scenario(Settings::default(), |fleet| {
        let pair = Pair::raise(fleet)?;
        let (netns, interface) = (&pair.second.host.netns, &pair.server.seat.interface);
        for hook in [Hook::Ingress, Hook::Egress] {
            // Before ours, and content: ours still decides.
            let before = Foreign::attach(netns, interface, hook, Order::First, Answer::Next)?;
            assert_eq!(pair.client.reaches(pair.server.v4())?, pair.server.answer);
            fleet.hub.apply(&deny_from("cut", "server", peers("app", "client")))?;
            pair.client.is_cut_from(pair.server.v4())?;
            fleet.hub.axle(&["policy", "delete", "cut", "--wait"])?;
            pair.client.reaches(pair.server.v4())?;
            drop(before);
            // After ours: what we accept goes on to it, so it can still drop it.
            let after = Foreign::attach(netns, interface, hook, Order::Last, Answer::Drop)?;
            pair.client.is_cut_from(pair.server.v4())?;
            drop(after);
            pair.client.reaches(pair.server.v4())?;
        }
        Ok(())
    })
}
