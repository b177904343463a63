//! The engines that carry the messages of nodes, and the contract that they keep.

pub(crate) mod address;
pub(crate) mod hub;
pub(crate) mod link;
pub(crate) mod memory;
pub(crate) mod memory_log;
#[cfg(feature = "nats")]
pub(crate) mod nats;
#[cfg(feature = "redis")]
pub(crate) mod redis;
pub(crate) mod start_positions;
