//! Many connections: groups, rooms, broadcasts, and the way to all shards.

pub(crate) mod broadcast;
pub(crate) mod hub;
pub(crate) mod registry;
pub(crate) mod room;
pub(crate) mod rooms;
