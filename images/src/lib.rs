//! Container images as archives, written without an engine: a layer of files, and the layouts that engines read.
mod archive;
mod layer;

pub use archive::{Image, sha256};
pub use flate2::Compression;
pub use layer::Layer;
