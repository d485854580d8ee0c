//! Fuzzes the target of this name; see `scripts/fuzz.sh`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| frosthead_fuzz::run(frosthead_fuzz::targets::update, bytes));
