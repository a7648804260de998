//! Axle's agent: hub session, inventory, data plane.
