//! The change log: what was written, by whom, in one order.
mod position;
mod record;

pub use position::{Epoch, Hash, Position};
pub use record::{Change, Record};
