//! The connection that was used before: Redis ends it before the next one says again what it said.
//!
//! Commands that were sent over a connection that is lost may be under way still, or wait to be
//! read. An entry that is said again is looked for and not there yet, and then comes twice.

use std::cell::RefCell;

use nexios_protocol::escaped;
use redis::{Value, cmd, from_redis_value};

use super::Connection;
use crate::engines::link::LinkError;

#[derive(Default)]
pub(super) struct Predecessor(RefCell<Option<Identity>>);

/// What Redis calls a connection. Numbers begin anew when the server does, so that the address
/// has to be the same as well.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Identity {
    id: String,
    address: String,
}

impl Predecessor {
    /// Ends the one before, where Redis lets this user do that, and takes note of this one. The
    /// many connections of a cluster's client are not known.
    pub(super) async fn replace(&self, connection: &Connection) -> Result<(), LinkError> {
        let Connection::One(_) = connection else { return Ok(()) };
        let before = self.0.take();
        if let Some(Identity { id, address }) = before {
            let mut kill = cmd("CLIENT");
            kill.arg("KILL").arg("ID").arg(id).arg("ADDR").arg(address);
            granted(connection.ask(&kill).await)?;
        }
        let info = granted(connection.ask(cmd("CLIENT").arg("INFO")).await)?;
        *self.0.borrow_mut() = info.and_then(Identity::read);
        Ok(())
    }
}

impl Identity {
    /// Of what `CLIENT INFO` says: `id=3 addr=127.0.0.1:50000 …`.
    fn read(info: Value) -> Option<Self> {
        let info: String = from_redis_value(info).ok()?;
        let field = |name: &str| {
            let fields = info.split_ascii_whitespace().filter_map(|field| field.split_once('='));
            fields.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
        };
        Some(Identity { id: field("id")?, address: field("addr")? })
    }
}

/// A server that does not permit it is used all the same.
fn granted(answer: Result<Value, LinkError>) -> Result<Option<Value>, LinkError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(LinkError::Refused(reason)) => {
            tracing::debug!(reason = %escaped(&reason), "Redis does not let its connections be told apart");
            Ok(None)
        }
        Err(lost) => Err(lost),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_known_by_its_number_and_address() {
        let info = Value::BulkString(b"id=3 addr=127.0.0.1:50000 laddr=127.0.0.1:6379 fd=8 name=\n".to_vec());
        let identity = Identity { id: "3".to_owned(), address: "127.0.0.1:50000".to_owned() };
        assert_eq!(Identity::read(info), Some(identity));
        assert_eq!(Identity::read(Value::BulkString(b"fd=8".to_vec())), None);
    }
}
