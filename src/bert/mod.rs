//! Skeleton of `bert`; see DESIGN for what it owns.
