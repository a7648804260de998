//! What is wrong with a document.
use std::fmt;

/// One fault of a document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Violation {
    /// For programs: `syntax`, `unknown-field`, `missing-field`, `wrong-type`, `invalid-value`, `duplicate`,
    /// `unknown-kind`, `missing-document`.
    pub code: &'static str,
    /// Line in the text, from 1.
    pub line: u64,
    /// Column in the line, from 1.
    pub column: u64,
    /// The field's path, such as `spec.ingress[0].action`; empty for the whole document.
    pub field: String,
    /// What was found there.
    pub got: String,
    /// What was wanted.
    pub want: String,
    /// How to mend it.
    pub fix: String,
}

impl Violation {
    /// Where it is, for people: `line 4, column 7, spec.ingress[0].action`.
    #[must_use]
    pub fn place(&self) -> String {
        let comma = if self.field.is_empty() { "" } else { ", " };
        format!("line {}, column {}{comma}{}", self.line, self.column, self.field)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: got {}; wanted {}", self.place(), self.got, self.want)?;
        if self.fix.is_empty() { Ok(()) } else { write!(f, "; {}", self.fix) }
    }
}
