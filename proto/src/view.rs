//! What the core says of policy, as the messages that every door shows.
mod diff;
mod explain;
mod lint;
pub mod text;

pub use diff::diff;
pub use explain::{explanation, rule};
pub use lint::{lint, test};
