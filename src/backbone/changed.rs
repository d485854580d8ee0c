//! Owns what training changed of a backbone: the tensors, in place of those of its file, and their hash.
//!
//! Refuses to know who changed them.

use super::{Backbone, Storage};
use crate::encoder::ChangedTensors;
use crate::fingerprint::Fingerprint;

/// Tensors that training changed, and their hash.
#[derive(Clone)]
pub(super) struct Changed {
    tensors: ChangedTensors,
    fingerprint: Fingerprint,
}

impl Changed {
    pub(super) fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

impl Backbone {
    /// The same backbone with tensors that training changed; `fingerprint` is their hash.
    #[must_use]
    pub fn with_changed(mut self, tensors: ChangedTensors, fingerprint: Fingerprint) -> Self {
        self.changed = Some(Changed { tensors, fingerprint });
        self
    }

    /// What training changed, if anything.
    #[must_use]
    pub fn changed(&self) -> Option<&ChangedTensors> {
        self.changed.as_ref().map(|changed| &changed.tensors)
    }

    /// The hash of what training changed, if anything.
    #[must_use]
    pub fn changed_fingerprint(&self) -> Option<Fingerprint> {
        self.changed.as_ref().map(|changed| changed.fingerprint)
    }

    /// The same, or else the hash of what training had changed before the backbone was packed.
    #[must_use]
    pub fn ever_changed(&self) -> Option<Fingerprint> {
        self.changed_fingerprint().or(match &self.storage {
            Storage::Directory => None,
            Storage::Packed(packed) => packed.changed,
        })
    }
}
