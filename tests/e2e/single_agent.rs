//! One agent per state directory, and one per node's kernel tables.
use axle_tests::fleet::{PATIENCE, Settings, scenario};

use crate::{
    documents::{deny_from, peers},
    pair::Pair,
};

/// Exit code of `axle-agent` for what another agent holds.
const HELD: Option<i32> = Some(3);

#[test]
fn a_second_agent_is_kept_out() -> anyhow::Result<()> {
    scenario(Settings::default(), |fleet| {
        let pair = Pair::raise(fleet)?;
        let mut same_state = pair.second.spawn()?;
        assert_eq!(same_state.wait(PATIENCE)?.code(), HELD);

        // Another state directory, a copy even, but the same pins.
        let copy = pair.second.state().with_extension("copy");
        axle_tests::process::run(std::process::Command::new("cp").arg("-r").arg(pair.second.state()).arg(&copy))?;
        let mut same_pins = pair.second.spawn_at(&copy)?;
        assert_eq!(same_pins.wait(PATIENCE)?.code(), HELD);

        // The first one never noticed.
        fleet.hub.apply(&deny_from("cut", "server", peers("app", "client")))?;
        pair.client.is_cut_from(pair.server.v4())
    })
}
