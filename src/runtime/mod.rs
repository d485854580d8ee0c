//! Skeleton of `runtime`; see DESIGN for what it owns.
