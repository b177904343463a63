//! Attacks over the wire: for each the exact answer, the counter it raises, and that somebody
//! else on the same shard is served all the while.

mod crowding;
mod faults;
mod framing;
mod log;
mod memory;
mod opening;
mod rebinding;
mod slow_http;
mod slowness;
mod targets;
