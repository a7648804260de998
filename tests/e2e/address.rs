//! An address that moves from one workload to another: the right one's policy holds, whichever news comes first.
use axle_tests::fleet::{Settings, Spec, scenario};

use crate::{
    documents::{only_from, peers},
    pair::Pair,
};

/// The server, on a node of its own, judges by what it hears of two other nodes.
#[test]
fn an_address_moves_between_nodes_in_any_order() -> anyhow::Result<()> {
    scenario(Settings::default(), |fleet| {
        let pair = Pair::raise(fleet)?;
        let third = fleet.node(&pair.cluster, &pair.first)?;
        fleet.hub.apply(&only_from("friends", "server", peers("app", "friend")))?;
        let friend = pair.first.workload(&fleet.fabric, &Spec::new("mover", "friend"))?;
        let addresses = friend.seat.addresses;
        assert_eq!(friend.reaches(pair.server.v4())?, pair.server.answer);
        let (mut mover, mut at, mut next) = (friend, &pair.first, &third);
        // A stranger, a friend again, and so on; the news of the old one's end comes before or after those of the new one.
        for (round, ends_first) in [true, false, false, true].into_iter().enumerate() {
            let old = mover.file();
            mover.remove()?;
            if ends_first {
                at.forget(&old)?;
            }
            let spec = Spec::new("mover", if round % 2 == 0 { "stranger" } else { "friend" });
            mover = next.workload_at(&fleet.fabric, &spec, addresses)?;
            let check = || match round % 2 {
                0 => pair.server.seat.addresses.iter().try_for_each(|to| mover.is_cut_from(*to)),
                _ => pair.server.seat.addresses.iter().try_for_each(|to| mover.reaches(*to).map(drop)),
            };
            check()?;
            if !ends_first {
                at.forget(&old)?;
                fleet.settle_with(3, 3)?;
                check()?;
            }
            (at, next) = (next, at);
        }
        Ok(())
    })
}
