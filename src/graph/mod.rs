//! Skeleton of `graph`; see DESIGN for what it owns.
