//! How resources become bytes: the one thing that the pure core leaves to the wire.
use bytes::Bytes;

use crate::model::{Envelope, Key, Kind, Object, Resource, Scope, Uid};

/// Encodes and decodes resources. `axle-proto` has the one real implementation.
pub trait Codec {
    /// The bytes of a resource; the same resource always has the same bytes.
    fn encode(&self, resource: &Resource) -> Bytes;

    /// The resource of these bytes.
    ///
    /// # Errors
    /// Says which field was wrong, what it held and what is wanted.
    fn decode(&self, kind: Kind, payload: &Bytes) -> Result<Resource, String>;
}

impl Object {
    /// A new object of this content, under the name that its content gives it.
    #[must_use]
    pub fn new(resource: Resource, scope: Scope, uid: Uid, revision: u64, codec: &dyn Codec) -> Self {
        let payload = codec.encode(&resource);
        let (key, features) = (Key::of(&resource, scope, uid), resource.features());
        Self { key, uid, revision, features, payload, resource: resource.into() }
    }
}

impl Envelope {
    /// Understands the payload, and checks that it is what the key says.
    ///
    /// # Errors
    /// Says what is wrong with the payload.
    pub fn open(self, codec: &dyn Codec) -> Result<Object, String> {
        let Self { key, uid, revision, features, payload } = self;
        let resource = codec.decode(key.kind, &payload)?;
        let wanted = Key::of(&resource, key.scope, uid);
        if wanted != key {
            return Err(format!(
                "the key says {key}, its content is {wanted}: an object must be filed under its own name"
            ));
        }
        Ok(Object { key, uid, revision, features, payload, resource: resource.into() })
    }
}
