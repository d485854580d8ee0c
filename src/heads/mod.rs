//! Skeleton of `heads`; see DESIGN for what it owns.
