//! What the demo shows, scene by scene; each ends with facts that were just seen.
mod hub_away;
mod policy;
mod service;

use crate::{stage::Stage, world::World};

/// One scene.
type Scene = fn(&mut Stage, &mut World) -> anyhow::Result<()>;

/// All of them, in order: each starts where the one before ended.
pub(crate) const ALL: [Scene; 4] =
    [service::nearest_backend, policy::one_policy_everywhere, policy::explained, hub_away::hub_away];
