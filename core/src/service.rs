//! Services of the fleet and of a cluster: how exports merge into an import, and which backends a client gets.
mod alias;
pub mod dns;
mod imported;
mod merge;
mod objects;
mod routes;
mod seat;
mod selection;
mod services;
mod table;

pub use alias::{AliasSlot, alias_table};
pub use imported::{Imported, Share, Shares};
pub use merge::{Exported, Merged, conflict, merge};
pub use seat::selects;
pub use selection::{Candidate, Here, select};
pub use services::Services;
pub use table::{Backend, Frontend, Route, ServiceTable};
