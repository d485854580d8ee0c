//! Skeleton of `tokens`; see DESIGN for what it owns.
