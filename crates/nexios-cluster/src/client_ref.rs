//! Names of clients.

use std::fmt;
use std::sync::Arc;

use nexios_engine::ConnectionId;

/// Names clients: a connection by its id, or all those that the application gave one client id.
///
/// It is made from a [`ConnectionId`], a `WebSocket`, or a text, which is a connection's
/// id if there is such a connection, else a client id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientRef {
    id: Option<ConnectionId>,
    name: Option<Arc<str>>,
}

impl ClientRef {
    /// Returns the connection's id, if this may be one.
    pub fn id(&self) -> Option<ConnectionId> {
        self.id
    }

    /// Returns the client id, if this may be one.
    pub fn client_id(&self) -> Option<&Arc<str>> {
        self.name.as_ref()
    }
}

impl fmt::Display for ClientRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, self.id) {
            (Some(name), _) => f.write_str(name),
            (None, Some(id)) => id.fmt(f),
            (None, None) => Ok(()),
        }
    }
}

impl From<ConnectionId> for ClientRef {
    fn from(id: ConnectionId) -> Self {
        ClientRef { id: Some(id), name: None }
    }
}

impl From<&str> for ClientRef {
    fn from(text: &str) -> Self {
        ClientRef { id: text.parse().ok(), name: Some(text.into()) }
    }
}

impl From<&String> for ClientRef {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<String> for ClientRef {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_may_be_either_kind_of_id() {
        let id: ConnectionId = "000102030405060708090a0b0c0d0e0f".parse().unwrap();
        let client = ClientRef::from(id.to_string());
        assert_eq!(client.id, Some(id));
        assert_eq!(client.to_string(), id.to_string());
        let client = ClientRef::from("client1");
        assert_eq!((client.id, client.name.as_deref()), (None, Some("client1")));
    }
}
