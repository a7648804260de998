//! An address that moves from one workload to another: the right one's policy holds, whichever news comes first.
use axle_tests::fleet::{Settings, Spec, scenario};

use crate::{
    documents::{only_from, peers},
    pair::Pair,
};

#[test]
fn an_address_moves_between_nodes_in_any_order() -> anyhow::Result<()> {
    scenario(Settings::default(), |fleet| {
        let pair = Pair::raise(fleet)?;
        fleet.hub.apply(&only_from("friends", "server", peers("app", "friend")))?;
        for delete_first in [true, false] {
            // On the client's node: a friend, which is let in.
            let old = pair.first.workload(&fleet.fabric, &Spec::new("mover", "friend"))?;
            assert_eq!(old.reaches(pair.server.v4())?, pair.server.answer);
            let (addresses, old_file) = (old.seat.addresses, old.file());
            // The same addresses go to a stranger on the other node.
            let stranger = Spec::new("stranger", "stranger");
            if delete_first {
                pair.first.forget(&old_file)?;
            }
            old.remove()?;
            let new = pair.second.workload_at(&fleet.fabric, &stranger, addresses)?;
            if !delete_first {
                new.is_cut_from(pair.server.v4())?;
                pair.first.forget(&old_file)?;
            }
            for to in pair.server.seat.addresses {
                new.is_cut_from(to)?;
            }
            // And from there to a friend on the first node again.
            let back = pair.first.workload_at(&fleet.fabric, &Spec::new("returned", "friend"), addresses)?;
            for to in pair.server.seat.addresses {
                assert_eq!(back.reaches(to)?, pair.server.answer);
            }
            pair.second.forget(&new.file())?;
            fleet.settle(2)?;
            for to in pair.server.seat.addresses {
                assert_eq!(back.reaches(to)?, pair.server.answer);
            }
            pair.first.forget(&back.file())?;
            back.remove()?;
            new.remove()?;
        }
        Ok(())
    })
}
