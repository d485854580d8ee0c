//! Opens a bundle and labels sentences: `cargo run --example predict -- x.frost "Great phone!"`.

use frosthead::{Classifier, Result};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let classifier = Classifier::open(arguments.next().unwrap_or_else(|| "x.frost".to_owned()))?;
    let texts: Vec<String> = arguments.collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    for (text, predictions) in texts.iter().zip(classifier.predict(&texts)?) {
        for (head, prediction) in classifier.heads().iter().zip(predictions) {
            let (label, probability) = (prediction.label, prediction.probabilities[prediction.label]);
            println!("{text}\t{}\t{}\t{probability:.3}", head.task, head.labels[label]);
        }
    }
    Ok(())
}
