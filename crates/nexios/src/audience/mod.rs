//! Many connections: groups, rooms, broadcasts, and the way to all shards.

pub(crate) mod broadcast;
pub(crate) mod client_ids;
pub(crate) mod room;
pub(crate) mod rooms;
pub(crate) mod switchboard;
