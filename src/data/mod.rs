//! Skeleton of `data`; see DESIGN for what it owns.
