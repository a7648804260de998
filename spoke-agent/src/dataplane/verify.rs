//! Whether the kernel holds what it should.
use axle_core::policy::tables::{Plan, Tables};

use super::{DataPlane, Error};

impl DataPlane {
    /// Reads the kernel's tables and compares what they mean with what `whole` (the compiler's rebuild of the present
    /// state) would make of empty ones. Where they differ, in one line; `None` if the kernel judges as it should.
    ///
    /// # Errors
    /// [`Error::NotReady`] without tables, [`Error::Map`] if a map cannot be read.
    pub fn verify(&self, whole: &Plan) -> Result<Option<String>, Error> {
        let (mut kernel, mut wanted) = (Tables::new(self.limits()), Tables::new(self.limits()));
        for (tables, writes) in [(&mut kernel, &self.read_back()?), (&mut wanted, &whole.writes)] {
            for write in writes {
                if let Err(error) = tables.apply(write) {
                    return Ok(Some(format!("{write:?} is in one of them and cannot be: {error}")));
                }
            }
        }
        for write in &whole.settle {
            if let Err(error) = wanted.apply(write) {
                return Ok(Some(format!("{write:?} cannot be: {error}")));
            }
        }
        Ok(kernel.difference(&wanted))
    }
}
