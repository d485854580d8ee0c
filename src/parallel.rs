//! Owns dividing work among threads.
//!
//! Refuses to let their number change a result: the work is divided the same way whatever it is.

use std::sync::Mutex;

/// Does something for every job, several at a time; the results in their order.
pub(crate) fn in_parallel<J: Clone + Sync, T: Send>(
    threads: usize,
    jobs: Vec<J>,
    each: &(dyn Fn(J) -> T + Sync),
) -> Vec<T> {
    let done: Vec<Mutex<Option<T>>> = jobs.iter().map(|_| Mutex::new(None)).collect();
    let next = Mutex::new(0..jobs.len());
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, jobs.len().max(1)) {
            scope.spawn(|| {
                while let Some(place) = next.lock().ok().and_then(|mut next| next.next()) {
                    let result = each(jobs[place].clone());
                    if let Ok(mut slot) = done[place].lock() {
                        *slot = Some(result);
                    }
                }
            });
        }
    });
    let taken = done.into_iter().map(|slot| slot.into_inner().ok().flatten());
    taken
        .map(|result| result.expect("every part was done before the scope ended: anything else is a bug"))
        .collect()
}
