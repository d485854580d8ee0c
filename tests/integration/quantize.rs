//! Precision variants of the real encoder: how close they are to fp32, how large, and that a text's numbers
//! are its own.

use std::path::Path;

use frosthead::internal::embed::CutRows;
use frosthead::internal::quantize::{
    Agreement, BuildOptions, Built, Precision, TableBits, Variant, build, calibrate, sensitivity,
};
use frosthead::internal::runtime::{Load, Sessions};
use frosthead::internal::tokens::Batching;
use frosthead::{Backbone, Runtime, RuntimeOptions};

use crate::harness::{demo, directory, real};

fn runtime() -> Runtime {
    Runtime::load(&RuntimeOptions { threads: Some(2), ..RuntimeOptions::default() }).unwrap()
}

fn texts(rows: usize) -> Vec<String> {
    let mut reader = csv::Reader::from_path(demo(rows)).unwrap();
    reader.records().map(|record| record.unwrap()[0].to_owned()).collect()
}

/// Bytes of graph and weights, and a session of both.
fn open(built: &Built, folder: &Path, runtime: &Runtime) -> (u64, Sessions) {
    let path = folder.join("model.onnx.data");
    let mut file = std::fs::File::create(&path).unwrap();
    built.write_weights(&mut file, &path).unwrap();
    let session = Sessions::one(runtime.session_from_memory(&built.graph, folder).unwrap());
    (built.graph.len() as u64 + built.weights_length(), session)
}

fn embeddings(rows: &CutRows, session: &mut Sessions, chosen: &[usize]) -> Vec<f32> {
    let mut all = vec![0.0; chosen.len() * 384];
    rows.run(session, chosen, &["embedding"], &mut |place, found| {
        all[place * 384..(place + 1) * 384].copy_from_slice(found[0]);
        Ok(())
    })
    .unwrap();
    all
}

#[test]
fn precisions_of_the_real_encoder_are_as_close_and_as_small_as_promised() {
    let (backbone, runtime) = (Backbone::open(Path::new(real())).unwrap(), runtime());
    let texts = texts(600);
    // Calibrated on some texts, measured on others.
    let all: Vec<&str> = texts.iter().map(String::as_str).collect();
    let (calibrating, measured) = all.split_at(256);
    let calibration = calibrate(&backbone, &runtime, calibrating).unwrap();
    let rows = CutRows::ids(&backbone, measured, Batching::default()).unwrap();
    let chosen: Vec<usize> = (0..measured.len()).collect();
    let measure = |variant: &Variant| {
        let folder = directory();
        let built = build(&backbone, variant, Some(&calibration), &BuildOptions::default()).unwrap();
        let (size, mut session) = open(&built, folder.path(), &runtime);
        let found = embeddings(&rows, &mut session, &chosen);
        // Alone and in another order it is the same, to the bit.
        let reversed: Vec<usize> = (0..7).rev().collect();
        let alone = embeddings(&rows, &mut session, &reversed);
        for (vector, row) in alone.chunks_exact(384).zip(reversed) {
            assert_eq!(vector, &found[row * 384..][..384], "{variant:?}, row {row}");
        }
        (size, found)
    };
    let of = |precision| Variant { precision, ..Variant::default() };
    let (size, exact) = measure(&of(Precision::Fp32));
    assert!(size <= 91_000_000, "{size}");
    let outputs = frosthead::internal::encoder::Outputs::EMBEDDING;
    for load in [Load::Few, Load::Many] {
        let mut sessions = backbone.sessions(&runtime, outputs, load).unwrap();
        assert_eq!(sessions.count(), if load == Load::Many { 2 } else { 1 });
        let found = embeddings(&rows, &mut sessions, &chosen);
        assert_eq!(exact, found, "fp32 is the backbone itself, side by side or not");
    }
    let agreement = |variant: &Variant| {
        let (size, found) = measure(variant);
        (size, Agreement::of(&exact, &found, 384))
    };
    let (size, w8) = agreement(&of(Precision::W8));
    assert!(size <= 25_000_000 && w8.smallest >= 0.998 && w8.smallest < 0.9999, "{size} {w8:?}");
    let (size, int8) = agreement(&of(Precision::Int8));
    assert!(size <= 23_400_000 && int8.smallest >= 0.98 && int8.mean >= 0.998, "{size} {int8:?}");
    // The table alone, and beside int8: 11.7 million numbers of a byte and a row's scale are 11.8 MB, of half a
    // byte, and 2.5 bytes per 32, 6.8 MB.
    let four = |precision| agreement(&Variant { table: TableBits::Four, ..of(precision) });
    let (_, table) = four(Precision::Fp32);
    assert!(table.mean >= 0.9988 && table.smallest >= 0.995 && table.mean < 0.9999, "{table:?}");
    let (smaller, both) = four(Precision::Int8);
    assert!(size - smaller >= 5_000_000 && smaller <= 18_400_000, "{smaller} of {size}");
    assert!(both.smallest >= 0.98 && both.mean >= 0.997, "{both:?}");
    let losses = sensitivity(&backbone, &runtime, &calibration, &calibrating[..32], &mut |_| ()).unwrap();
    assert_eq!(losses.losses.len(), 24);
    let kept = losses.worst(0.5);
    assert!(!kept.is_empty() && kept.len() < 12, "{losses:?}");
    let (_, with) = agreement(&Variant { precision: Precision::Int8, kept, ..Variant::default() });
    assert!(1.0 - with.mean < 0.8 * (1.0 - int8.mean), "{with:?} {int8:?}");
}
