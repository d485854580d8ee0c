//! Owns sharing a step's own arithmetic among threads: pieces of one size, so that no result depends on how
//! many there are.
//!
//! Refuses to keep threads waiting between steps: ONNX Runtime has the cores then.

/// Elements that one thread works on without a break: large enough to be worth handing over, small enough to
/// share out.
pub(super) const PIECE: usize = 1 << 15;

/// Works on all pieces with some threads.
pub(super) fn shared<T: Send>(mut pieces: Vec<T>, threads: usize, work: &(dyn Fn(T) + Sync)) {
    let each = pieces.len().div_ceil(threads.max(1)).max(1);
    std::thread::scope(|scope| {
        while pieces.len() > each {
            let share = pieces.split_off(pieces.len() - each);
            scope.spawn(move || share.into_iter().for_each(work));
        }
        pieces.into_iter().for_each(work);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_is_worked_on_once_whatever_the_threads() {
        for threads in [0, 1, 2, 7, 100] {
            let mut numbers = [0; 41];
            shared(numbers.iter_mut().enumerate().collect(), threads, &|(place, number)| {
                *number += place + 1;
            });
            assert!(numbers.iter().enumerate().all(|(place, number)| *number == place + 1), "{threads}");
            shared(Vec::<u8>::new(), threads, &|_| panic!("there is nothing to work on"));
        }
    }
}
