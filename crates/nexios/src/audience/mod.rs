//! Many connections: groups, rooms, broadcasts, and the way to all shards.

pub(crate) mod broadcast;
pub(crate) mod client_ids;
pub(crate) mod delivery;
pub(crate) mod framing;
pub(crate) mod room;
pub(crate) mod rooms;
pub(crate) mod shards;
pub(crate) mod switchboard;
