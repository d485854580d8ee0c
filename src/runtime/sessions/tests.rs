//! Tests of sessions side by side, on a product whose result is computed by hand.

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::time::Duration;

use super::*;
use crate::error::{Error, Kind};
use crate::runtime::tests::{fixture, runtime};
use crate::runtime::{Input, Values};

fn sessions(threads: usize, bytes: u64) -> Sessions {
    let open = |share: &Runtime| share.session(&fixture("runtime_matmul.onnx"));
    Sessions::open(&runtime(threads), (Load::Many, bytes), &open).unwrap()
}

/// `[number 0] × [1 0; 0 1]`, all of it.
fn product(session: &mut Session, number: f32) -> Result<Vec<f32>> {
    let (a, b) = ([number, 0.0, 0.0], [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
    let inputs = [
        Input { name: "a", shape: &[1, 3], values: Values::F32(&a) },
        Input { name: "b", shape: &[3, 2], values: Values::F32(&b) },
    ];
    Ok(session.run(&inputs, &["c"])?.remove(0).data)
}

fn number(place: usize) -> f32 {
    place as f32
}

fn some_error() -> Error {
    Error::new(Kind::Usage, "enough")
}

#[test]
fn threads_are_divided_among_sessions() {
    let four = sessions(4, 1);
    assert_eq!((four.count(), four.threads()), (4, 4));
    assert!(four.all.iter().all(|session| session.threads() == 1));
    assert_eq!(shares(5, 3), [2, 2, 1]);
    assert_eq!(shares(6, 3), [2, 2, 2]);
    let one = sessions(4, u64::MAX);
    assert_eq!((one.count(), one.threads(), one.all[0].threads()), (1, 4, 4));
    let open = |share: &Runtime| share.session(&fixture("runtime_matmul.onnx"));
    let few = Sessions::open(&runtime(3), (Load::Few, 1), &open).unwrap();
    assert_eq!((few.count(), few.all[0].threads()), (1, 3));
    let given = Sessions::one(open(&runtime(3)).unwrap());
    assert_eq!((given.count(), given.threads()), (1, 3));
}

#[test]
fn there_are_as_many_sessions_as_threads_and_memory_allow() {
    // The first takes nothing that one session would not take.
    for (threads, bytes, memory, count) in
        [(1, 10, 0, 1), (4, 10, 9, 1), (4, 10, 29, 3), (4, 10, 30, 4), (4, 10, 99, 4), (16, 0, 0, 16)]
    {
        assert_eq!(fitting(threads, bytes, memory), count, "{threads} threads, {memory} bytes");
    }
}

#[test]
fn a_table_is_many_texts() {
    assert_eq!([1, 255, 256, 8192].map(Load::of_texts), [Load::Few, Load::Few, Load::Many, Load::Many]);
}

#[test]
fn every_place_is_done_once_and_its_own_result_handed_on() {
    for threads in [1, 3] {
        for count in [0, 1, 2, 3, 50] {
            let mut seen = BTreeSet::new();
            let mut each = |place: usize, result: Vec<f32>| {
                assert_eq!(result, [number(place), 0.0], "{threads} threads");
                assert!(seen.insert(place), "{place} came twice");
                Ok(())
            };
            let work = |session: &mut Session, place: usize| product(session, number(place));
            sessions(threads, 1).for_all(count, &work, &mut each).unwrap();
            assert_eq!(seen.len(), count);
        }
    }
}

#[test]
fn two_sessions_work_at_the_same_time() {
    // Neither gets past the barrier before both are there.
    let both = Barrier::new(2);
    let work = |_: &mut Session, _: usize| Ok(both.wait().is_leader());
    let mut leaders = 0;
    let mut each = |_, leader| {
        leaders += usize::from(leader);
        Ok(())
    };
    sessions(2, 1).for_all(2, &work, &mut each).unwrap();
    assert_eq!(leaders, 1);
}

#[test]
fn after_a_failure_the_rest_is_not_begun() {
    for threads in [1, 2] {
        let begun = AtomicUsize::new(0);
        // Work that takes a while: whoever is kept waiting by the machine fails long before all is done.
        let work = |_: &mut Session, place: usize| {
            begun.fetch_add(1, Ordering::Relaxed);
            if place == 3 {
                return Err(some_error());
            }
            std::thread::sleep(Duration::from_millis(1));
            Ok(())
        };
        let error = sessions(threads, 1).for_all(10_000, &work, &mut |_, ()| Ok(())).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        let failing = sessions(threads, 1).for_all(10_000, &work, &mut |_, ()| Err(some_error()));
        assert_eq!(failing.unwrap_err().kind(), Kind::Usage);
        assert!(begun.load(Ordering::Relaxed) < 10_000, "{} were begun", begun.load(Ordering::Relaxed));
    }
}
