//! Owns measuring what each product loses by computing in 8 bits, and choosing those that had better not.
//!
//! Refuses to guess: every product is tried.

use std::collections::{BTreeMap, BTreeSet};

use super::agreement::Agreement;
use super::calibration::Calibration;
use super::code::{Choice, Coded};
use super::data_file::Numbers;
use super::network::network_of;
use crate::backbone::Backbone;
use crate::embed::CutRows;
use crate::encoder::{Forms, GraphOptions, Network, Product, inference_graph};
use crate::error::{Error, Kind, Result};
use crate::graph::Data;
use crate::runtime::{Runtime, Session, Sessions};
use crate::text::AsText;
use crate::tokens::Batching;

/// What each product loses when it alone computes in 8 bits: 1 - the mean cosine to fp32.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Sensitivity {
    /// By product.
    pub losses: BTreeMap<Product, f64>,
}

impl Sensitivity {
    /// The fewest products that make up at least this share (0 … 1) of all losses.
    #[must_use]
    pub fn worst(&self, share: f64) -> BTreeSet<Product> {
        let mut order: Vec<(&Product, &f64)> = self.losses.iter().collect();
        order.sort_by(|a, b| b.1.total_cmp(a.1).then(a.0.cmp(b.0)));
        let whole: f64 = self.losses.values().sum();
        let mut sum = 0.0;
        let mut worst = BTreeSet::new();
        for (product, loss) in order {
            if sum >= share * whole {
                break;
            }
            sum += loss;
            worst.insert(*product);
        }
        worst
    }
}

/// Measures every product on texts; `progress` hears how many are done.
///
/// # Errors
/// There are no texts, the backbone is an imported `.onnx` file, the calibration is not of this network, or
/// computing fails.
pub fn sensitivity(
    backbone: &Backbone,
    runtime: &Runtime,
    calibration: &Calibration,
    texts: &[impl AsText],
    progress: &mut dyn FnMut(usize),
) -> Result<Sensitivity> {
    if texts.is_empty() {
        return Err(Error::new(Kind::Table, "there are no texts to measure int8 with"));
    }
    let network = network_of(backbone)?;
    let rows = CutRows::ids(backbone, texts, Batching::default())?;
    let chosen: Vec<usize> = (0..texts.len()).collect();
    let (hidden, outputs) = (network.summary_size(), network.summary());
    let names = outputs.names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let embeddings = |session: Session| {
        let mut all = vec![0.0; texts.len() * hidden];
        rows.run(&mut Sessions::one(session), &chosen, &names, &mut |place, found| {
            let last = found[0].len() - hidden;
            all[place * hidden..(place + 1) * hidden].copy_from_slice(&found[0][last..]);
            Ok(())
        })?;
        Ok::<_, Error>(all)
    };
    let expected = embeddings(backbone.session(runtime, outputs)?)?;
    let mut losses = BTreeMap::new();
    for product in Product::all(network.config.layers) {
        let graph = only(&network, product, calibration)?;
        let found = embeddings(backbone.session_of(runtime, &graph)?)?;
        let agreement = Agreement::of(&expected, &found, hidden);
        losses.insert(product, (1.0 - agreement.mean).max(0.0));
        progress(losses.len());
    }
    Ok(Sensitivity { losses })
}

/// The graph in which only one product computes in 8 bits; its codes are in the graph, the other weights
/// where they were.
fn only(network: &Network<'_>, product: Product, calibration: &Calibration) -> Result<Vec<u8>> {
    let mut coded = Coded::default();
    let choices = BTreeMap::from([(product, Choice::Integers)]);
    coded.add_layer(network, product.layer, &choices, Some(calibration))?;
    let inline = |(name, (value_type, numbers))| match numbers {
        Numbers::Bytes(bytes) => Ok((name, (value_type, Data::Inline(bytes)))),
        Numbers::Copied { .. } => Err(Error::new(Kind::Graph, "codes are not copied; this is a bug")),
    };
    let tensors = coded.tensors.into_iter().map(inline).collect::<Result<_>>()?;
    let forms = Forms { products: coded.products, tables: coded.tables, tensors };
    let options = GraphOptions { outputs: network.summary(), ..GraphOptions::default() };
    inference_graph(&Network { forms: Some(&forms), ..*network }, &options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_products_are_the_fewest_that_make_up_the_share() {
        let all: Vec<Product> = Product::all(1).collect();
        let losses = all.iter().copied().zip([1.0, 4.0, 2.0, 3.0]).collect();
        let sensitivity = Sensitivity { losses };
        let worst = |share| sensitivity.worst(share).into_iter().collect::<Vec<_>>();
        assert_eq!(worst(0.0), []);
        assert_eq!(worst(0.4), [all[1]]);
        assert_eq!(worst(0.41), [all[1], all[3]]);
        assert_eq!(worst(1.0), all);
    }
}
