//! Trains a head on a frozen encoder, measures them, and ships them in one file:
//! `cargo run --release --example train -- MODEL data.csv TEXT_COLUMN TASK OUT`, where MODEL is a directory of
//! Hugging Face and OUT a new directory.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use frosthead::{
    Backbone, BundleOptions, Classifier, EmbedOptions, EmbedRequest, Embedder, ImportOptions, Input, Result,
    RowsRequest, Runtime, RuntimeOptions, Source, Tasks, TrainRequest, bundle_run, embed_file, evaluate,
    import, train,
};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, data, column, task, out] = &arguments[..] else {
        eprintln!("usage: train MODEL DATA TEXT_COLUMN TASK OUT");
        std::process::exit(2);
    };
    let out = Path::new(out);
    let (backbone, cache, run) = (out.join("backbone"), out.join("cache"), out.join("run"));

    // A published encoder becomes a backbone, once.
    import(Path::new(model), &backbone, &ImportOptions::default())?;
    let backbone = Arc::new(Backbone::open(&backbone)?);

    // Its embeddings are computed once per text, and cached.
    let runtime = Arc::new(Runtime::load(&RuntimeOptions::default())?);
    let mut embedder = Embedder::open(backbone, Arc::clone(&runtime), &cache, EmbedOptions::default())?;
    let source = Source::file(data)?;
    let features = out.join("features.parquet");
    embed_file(&mut embedder, &EmbedRequest::new(&source, column, &features), &mut |_| ())?;

    // A head is fitted on them; every figure is of rows that it did not see.
    let rows = RowsRequest::new(Input::texts(data, column)?, Tasks::new(std::slice::from_ref(task))?);
    let mut request = TrainRequest::new(rows, &run);
    request.learning.fit.alpha = "auto".parse()?;
    let trained = train(&request, Some(&mut embedder), &mut |_| ControlFlow::Continue(()))?;
    for (task, metrics) in &trained.metrics().tasks {
        println!(
            "{task}: accuracy {:.3} on {} test rows",
            metrics.accuracy.unwrap_or(f64::NAN),
            metrics.rows
        );
    }
    let again = evaluate(&run, &Input::texts(data, column)?, &runtime, &cache)?;
    println!("{}", again.rows);

    // One file is all that the device needs.
    let bundle = out.join("model.frost");
    bundle_run(&run, &bundle, &BundleOptions::default(), &runtime)?;
    println!("{}: {} task", bundle.display(), Classifier::open(&bundle)?.heads().len());
    Ok(())
}
