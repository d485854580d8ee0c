//! Owns the map from a text key to the place of its row, compactly: 24 bytes an entry and 4 bytes a slot.
//!
//! Refuses to remove: the store is append-only. (`HashMap<TextKey, (u32, u32)>` would take 25 bytes for each
//! of up to 2.3 slots an entry, and half of that again while it grows.)

use crate::fingerprint::TextKey;

/// Where a row lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The number of the part, or [`Place::PENDING`].
    pub part: u32,
    /// The number of the row in its part.
    pub row: u32,
}

impl Place {
    /// The "part" of rows that are not written yet.
    pub const PENDING: u32 = u32::MAX;
}

struct Entry {
    key: TextKey,
    place: Place,
}

/// How many entries are allocated together (196 KB); in blocks, because a growing vector would hold its bytes
/// twice.
const BLOCK: usize = 8192;

/// An open-addressing hash table with linear probing over entries kept in order of insertion.
#[derive(Default)]
pub(super) struct Index {
    blocks: Vec<Vec<Entry>>,
    length: usize,
    /// Numbers of entries, or [`EMPTY`]; a power of two, at most three quarters full.
    slots: Vec<u32>,
}

const EMPTY: u32 = u32::MAX;

impl Index {
    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Where the row of `key` lies.
    pub fn find(&self, key: &TextKey) -> Option<Place> {
        if self.slots.is_empty() {
            return None;
        }
        let entry = self.slots[self.slot(key)];
        (entry != EMPTY).then(|| self.entry(entry as usize).place)
    }

    /// Adds a key; false when it was there already, and then nothing changes.
    pub fn insert(&mut self, key: TextKey, place: Place) -> bool {
        if (self.length + 1) * 4 > self.slots.len() * 3 {
            self.grow();
        }
        let slot = self.slot(&key);
        if self.slots[slot] != EMPTY {
            return false;
        }
        if self.length.is_multiple_of(BLOCK) {
            self.blocks.push(Vec::with_capacity(BLOCK));
        }
        self.slots[slot] = u32::try_from(self.length).expect("fewer than 2³² rows; this is a bug");
        self.blocks[self.length / BLOCK].push(Entry { key, place });
        self.length += 1;
        true
    }

    /// The first `count` of the last `waiting` entries (the pending ones) are now the rows of `part`; the
    /// others move up.
    pub fn settle(&mut self, waiting: usize, count: u32, part: u32) {
        let first = self.length - waiting;
        for number in first..self.length {
            let place = &mut self.blocks[number / BLOCK][number % BLOCK].place;
            if number - first < count as usize {
                place.part = part;
            } else {
                place.row -= count;
            }
        }
    }

    fn entry(&self, number: usize) -> &Entry {
        &self.blocks[number / BLOCK][number % BLOCK]
    }

    /// The slot that holds `key`, or the empty one where it belongs.
    fn slot(&self, key: &TextKey) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = spread(key) & mask;
        while self.slots[slot] != EMPTY && self.entry(self.slots[slot] as usize).key != *key {
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn grow(&mut self) {
        let size = (self.slots.len() * 2).max(64);
        self.slots = Vec::new();
        self.slots.resize(size, EMPTY);
        for number in 0..self.length {
            let slot = self.slot(&self.entry(number).key);
            self.slots[slot] = u32::try_from(number).expect("fewer than 2³² rows; this is a bug");
        }
    }
}

/// Keys are hashes already; the multiplication (Fibonacci hashing) only guards against keys that someone
/// numbered by hand.
fn spread(key: &TextKey) -> usize {
    let mut low = [0; 8];
    let mut high = [0; 8];
    low.copy_from_slice(&key.0[..8]);
    high.copy_from_slice(&key.0[8..]);
    let mixed = (u64::from_le_bytes(low) ^ u64::from_le_bytes(high).rotate_left(32))
        .wrapping_mul(0x9E37_79B9_7F4A_7C15);
    usize::try_from(mixed >> 32).expect("32 bits fit in a usize; this is a bug")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(number: u32) -> TextKey {
        TextKey::of(&number.to_string())
    }

    #[test]
    fn finds_what_was_inserted_and_nothing_else() {
        let mut index = Index::default();
        assert_eq!(index.find(&numbered(0)), None);
        for number in 0..5_000 {
            assert!(index.insert(numbered(number), Place { part: number / 512, row: number % 512 }));
        }
        assert!(!index.insert(numbered(7), Place { part: 99, row: 99 }));
        assert_eq!(index.len(), 5_000);
        for number in 0..5_000 {
            assert_eq!(index.find(&numbered(number)), Some(Place { part: number / 512, row: number % 512 }));
        }
        assert_eq!(index.find(&numbered(5_000)), None);
    }

    #[test]
    fn keys_numbered_by_hand_do_not_pile_up() {
        let mut index = Index::default();
        for number in 0..4_096_u128 {
            index.insert(TextKey(number.to_le_bytes()), Place { part: 0, row: 0 });
            index.insert(TextKey((number << 100).to_be_bytes()), Place { part: 0, row: 0 });
        }
        let mask = index.slots.len() - 1;
        let moved = (0..index.slots.len())
            .filter(|&slot| index.slots[slot] != EMPTY)
            .map(|slot| slot.wrapping_sub(spread(&index.entry(index.slots[slot] as usize).key)) & mask)
            .sum::<usize>();
        // Linear probing at load ¾ expects 1.5 steps an entry (Knuth 6.4); a pile would give thousands.
        assert!(moved / index.len() < 8, "{moved} steps");
    }

    #[test]
    fn settling_moves_only_the_last_entries() {
        let mut index = Index::default();
        index.insert(numbered(1), Place { part: 0, row: 0 });
        index.insert(numbered(2), Place { part: Place::PENDING, row: 0 });
        index.insert(numbered(3), Place { part: Place::PENDING, row: 1 });
        index.settle(2, 1, 5);
        assert_eq!(index.find(&numbered(1)), Some(Place { part: 0, row: 0 }));
        assert_eq!(index.find(&numbered(2)), Some(Place { part: 5, row: 0 }));
        assert_eq!(index.find(&numbered(3)), Some(Place { part: Place::PENDING, row: 0 }));
        index.settle(1, 1, 6);
        assert_eq!(index.find(&numbered(3)), Some(Place { part: 6, row: 0 }));
    }

    #[test]
    fn an_index_of_236_100_rows_stays_below_12_megabytes_while_it_grows() {
        let mut index = Index::default();
        let mut peak = 0;
        for number in 0..236_100_u32 {
            // Neither entries nor slots are ever there twice: blocks stay, and old slots are dropped before
            // new ones are made.
            assert!(index.insert(numbered(number), Place { part: 0, row: number }));
            let entries = index.blocks.iter().map(Vec::capacity).sum::<usize>();
            peak = peak.max(entries * size_of::<Entry>() + index.slots.capacity() * size_of::<u32>());
        }
        assert!(peak <= 12_000_000, "{peak} bytes");
        assert_eq!(index.find(&numbered(236_099)), Some(Place { part: 0, row: 236_099 }));
    }
}
