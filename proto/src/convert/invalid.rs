//! Why a message is not taken.
use std::fmt;

/// A field that does not hold what it must.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: got {got}; wanted {want}")]
pub struct Invalid {
    /// The field, from the outermost message: `ingress[2].ports`.
    pub at: String,
    /// What it held.
    pub got: String,
    /// What it must hold.
    pub want: String,
}

impl Invalid {
    /// `at` held `got`, but `want` is wanted.
    pub(crate) fn new(at: impl fmt::Display, got: impl fmt::Display, want: impl fmt::Display) -> Self {
        let got: String = got.to_string().chars().take(200).collect();
        Self { at: at.to_string(), got, want: want.to_string() }
    }

    /// `at` was absent.
    pub(crate) fn absent(at: &str) -> Self {
        Self::new(at, "nothing", "a value")
    }

    /// The same, seen from the message around it.
    pub(crate) fn within(mut self, outer: impl fmt::Display) -> Self {
        self.at = format!("{outer}.{}", self.at);
        self
    }
}

/// Adds the outer field to an error.
pub(crate) trait Within<T> {
    fn within(self, outer: impl fmt::Display) -> Result<T, Invalid>;
}

impl<T> Within<T> for Result<T, Invalid> {
    fn within(self, outer: impl fmt::Display) -> Self {
        self.map_err(|invalid| invalid.within(outer))
    }
}

/// A message field that must be there.
pub(crate) fn required<T>(at: &str, value: Option<T>) -> Result<T, Invalid> {
    value.ok_or_else(|| Invalid::absent(at))
}

/// Converts a list, naming the index of what is wrong.
pub(crate) fn list<W, M>(at: &str, items: Vec<W>, each: impl Fn(W) -> Result<M, Invalid>) -> Result<Vec<M>, Invalid> {
    let one = |(i, item)| each(item).within(format_args!("{at}[{i}]"));
    items.into_iter().enumerate().map(one).collect()
}
