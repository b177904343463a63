//! The client ids of one shard's connections.

use std::collections::HashMap;
use std::sync::Arc;

use nexios_engine::{Connection, ConnectionId, Shard};

use crate::connection::websocket::WebSocket;
use crate::serving::service::ShardService;

/// Client ids, and the connections that have drop listeners; all others cost nothing.
#[derive(Default)]
pub(crate) struct ClientIds {
    by_client_id: HashMap<Arc<str>, Vec<ConnectionId>>,
    by_connection: HashMap<ConnectionId, Arc<str>>,
    watched: HashMap<ConnectionId, WebSocket>,
}

impl ClientIds {
    /// Sets or clears a connection's client id.
    pub(crate) fn set_client_id(&mut self, id: ConnectionId, client_id: Option<Arc<str>>) {
        if let Some(old) = self.by_connection.remove(&id) {
            self.forget_client_id(&old, id);
        }
        if let Some(new) = client_id {
            self.by_client_id.entry(new.clone()).or_default().push(id);
            self.by_connection.insert(id, new);
        }
    }

    fn forget_client_id(&mut self, client_id: &str, id: ConnectionId) {
        let Some(ids) = self.by_client_id.get_mut(client_id) else { return };
        ids.retain(|other| *other != id);
        if ids.is_empty() {
            self.by_client_id.remove(client_id);
        }
    }

    /// Returns a connection's client id.
    pub(crate) fn client_id(&self, id: &ConnectionId) -> Option<Arc<str>> {
        self.by_connection.get(id).cloned()
    }

    /// Returns the connections that have a client id.
    pub(crate) fn with_client_id(&self, client_id: &str) -> &[ConnectionId] {
        self.by_client_id.get(client_id).map_or(&[], Vec::as_slice)
    }

    /// Keeps a connection for its drop listeners.
    pub(crate) fn watch(&mut self, ws: WebSocket) {
        self.watched.insert(ws.id(), ws);
    }

    /// Returns a connection that has drop listeners.
    pub(crate) fn watched(&self, id: &ConnectionId) -> Option<WebSocket> {
        self.watched.get(id).cloned()
    }

    /// Forgets a connection.
    #[must_use = "the connection is dropped outside of the borrow"]
    pub(crate) fn remove(&mut self, id: &ConnectionId) -> Option<WebSocket> {
        self.set_client_id(*id, None);
        self.watched.remove(id)
    }
}

/// Returns the connections of a shard that have this client id.
pub(crate) fn connections(shard: &Shard, client_id: &str) -> Vec<Connection> {
    let Some(service) = shard.service::<ShardService>() else { return Vec::new() };
    let client_ids = service.client_ids().borrow();
    client_ids.with_client_id(client_id).iter().filter_map(|id| shard.connection(id)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_connections_may_share_a_client_id() {
        let mut client_ids = ClientIds::default();
        let id = |n: u8| format!("{n:032x}").parse::<ConnectionId>().unwrap();
        let (a, b) = (id(1), id(2));
        client_ids.set_client_id(a, Some("ann".into()));
        client_ids.set_client_id(b, Some("ann".into()));
        assert_eq!(client_ids.with_client_id("ann"), [a, b]);
        client_ids.set_client_id(a, Some("bob".into()));
        assert_eq!(client_ids.with_client_id("ann"), [b]);
        assert_eq!(client_ids.client_id(&a).as_deref(), Some("bob"));
        assert!(client_ids.remove(&b).is_none());
        assert!(client_ids.with_client_id("ann").is_empty());
        assert!(!client_ids.by_client_id.contains_key("ann"));
    }
}
