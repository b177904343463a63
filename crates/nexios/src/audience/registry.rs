//! What one shard knows of its connections by name.

use std::collections::HashMap;
use std::sync::Arc;

use nexios_engine::{Connection, ConnectionId, Shard};

use crate::connection::websocket::WebSocket;
use crate::serving::service::ShardService;

/// Client ids, and the connections whose drops somebody listens to; all others cost nothing.
#[derive(Default)]
pub(crate) struct Registry {
    by_client_id: HashMap<Arc<str>, Vec<ConnectionId>>,
    client_ids: HashMap<ConnectionId, Arc<str>>,
    watched: HashMap<ConnectionId, WebSocket>,
}

impl Registry {
    /// Sets or clears a connection's client id.
    pub(crate) fn set_client_id(&mut self, id: ConnectionId, client_id: Option<Arc<str>>) {
        if let Some(old) = self.client_ids.remove(&id) {
            self.forget_client_id(&old, id);
        }
        if let Some(new) = client_id {
            self.by_client_id.entry(new.clone()).or_default().push(id);
            self.client_ids.insert(id, new);
        }
    }

    fn forget_client_id(&mut self, client_id: &str, id: ConnectionId) {
        let Some(ids) = self.by_client_id.get_mut(client_id) else { return };
        ids.retain(|other| *other != id);
        if ids.is_empty() {
            self.by_client_id.remove(client_id);
        }
    }

    pub(crate) fn client_id(&self, id: &ConnectionId) -> Option<Arc<str>> {
        self.client_ids.get(id).cloned()
    }

    pub(crate) fn with_client_id(&self, client_id: &str) -> &[ConnectionId] {
        self.by_client_id.get(client_id).map_or(&[], Vec::as_slice)
    }

    /// Makes a connection known to its drop listeners.
    pub(crate) fn watch(&mut self, ws: WebSocket) {
        self.watched.insert(ws.id(), ws);
    }

    pub(crate) fn watched(&self, id: &ConnectionId) -> Option<WebSocket> {
        self.watched.get(id).cloned()
    }

    /// Forgets what is known of a connection.
    #[must_use = "the connection is dropped outside of the borrow"]
    pub(crate) fn remove(&mut self, id: &ConnectionId) -> Option<WebSocket> {
        self.set_client_id(*id, None);
        self.watched.remove(id)
    }
}

/// The connections of a shard that have this client id.
pub(crate) fn connections(shard: &Shard, client_id: &str) -> Vec<Connection> {
    let Some(service) = shard.service::<ShardService>() else { return Vec::new() };
    let registry = service.registry().borrow();
    registry.with_client_id(client_id).iter().filter_map(|id| shard.connection(id)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_connections_may_share_a_client_id() {
        let mut registry = Registry::default();
        let id = |n: u8| format!("{n:032x}").parse::<ConnectionId>().unwrap();
        let (a, b) = (id(1), id(2));
        registry.set_client_id(a, Some("ann".into()));
        registry.set_client_id(b, Some("ann".into()));
        assert_eq!(registry.with_client_id("ann"), [a, b]);
        registry.set_client_id(a, Some("bob".into()));
        assert_eq!(registry.with_client_id("ann"), [b]);
        assert_eq!(registry.client_id(&a).as_deref(), Some("bob"));
        assert!(registry.remove(&b).is_none());
        assert!(registry.with_client_id("ann").is_empty());
        assert!(!registry.by_client_id.contains_key("ann"));
    }
}
