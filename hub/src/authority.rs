//! The hub's certificate authority: the root that signs, during a rotation a second one that is trusted too, and the hub's
//! own certificate.
mod bundle;
mod keeper;
mod own;

pub use bundle::{Bundle, Stage, Step};
pub use keeper::{Authorities, Lifetimes};
pub use own::Own;
