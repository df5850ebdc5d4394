//! Append-only log engine.
