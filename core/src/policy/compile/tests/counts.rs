//! How many writes a change costs.
