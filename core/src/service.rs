//! Services across clusters: how exports merge into an import, and which backends a client gets.
mod alias;
mod merge;
mod selection;
mod table;

pub use alias::{AliasSlot, alias_table};
pub use merge::{Exported, Merged, PORT_CONFLICT, merge};
pub use selection::{Candidate, Here, select};
pub use table::{Backend, Frontend, ServiceTable, Services, selects};
