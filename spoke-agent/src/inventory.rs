//! What runs on this machine and in this cluster, from a directory of YAML files.
mod directory;
