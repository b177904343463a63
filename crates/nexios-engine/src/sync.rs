//! The primitives that threads meet on. `tests/wake_ups.rs` puts loom's in their place.

pub(crate) use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) use parking_lot::Mutex;
