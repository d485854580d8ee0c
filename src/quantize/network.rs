//! Owns taking a backbone's network, whose layers must be known to put it into 8 bits.

use crate::backbone::Backbone;
use crate::encoder::Network;
use crate::error::{Error, Kind, Result};

/// A backbone's network, whose layers must be known.
///
/// # Errors
/// It is opaque.
pub(super) fn network_of(backbone: &Backbone) -> Result<Network<'_>> {
    backbone.network().map_err(|error| {
        Error::new(Kind::Usage, "this backbone cannot be put into 8 bits: its layers must be known")
            .at(backbone.directory())
            .help("bundle with --precision fp32, or train on a backbone imported from model.safetensors")
            .because(error)
    })
}
