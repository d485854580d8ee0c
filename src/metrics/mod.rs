//! Skeleton of `metrics`; see DESIGN for what it owns.
