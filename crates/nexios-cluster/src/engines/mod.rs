//! The engines that carry the messages of nodes, and the contract that they keep.

pub(crate) mod address;
pub(crate) mod hub;
pub(crate) mod kept;
pub(crate) mod link;
pub(crate) mod memory;
#[cfg(feature = "nats")]
pub(crate) mod nats;
pub(crate) mod origins;
#[cfg(feature = "redis")]
pub(crate) mod redis;
