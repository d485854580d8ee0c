//! Skeleton of `store`; see DESIGN for what it owns.
