//! Places in the limit of connections, for what else holds a descriptor.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::metrics::Cause;
use crate::server::{Server, Shared};

/// The places of one server: [`Server::places`](crate::Server::places).
#[derive(Clone)]
pub struct Places(pub(crate) Arc<Shared>);

/// A place that is taken, until it is dropped.
pub struct Place(Arc<Shared>);

impl Server {
    /// Its places, for what holds a descriptor and is no connection: files that are being sent.
    pub fn places(&self) -> Places {
        Places(self.shared().clone())
    }
}

impl Places {
    /// Takes a place, as a connection does; `None` if `connections_max` are taken.
    ///
    /// ```
    /// use nexios_engine::{Server, ServerSettings};
    /// let server = Server::new(ServerSettings { connections_max: Some(1), ..Default::default() });
    /// let place = server.places().take();
    /// assert!(place.is_some() && server.places().take().is_none());
    /// drop(place);
    /// assert!(server.places().take().is_some());
    /// ```
    pub fn take(&self) -> Option<Place> {
        let place = Place(self.0.clone());
        let others = self.0.others.fetch_add(1, Ordering::Relaxed);
        if others + self.0.connections.load(Ordering::Relaxed) < self.0.connections_max {
            return Some(place);
        }
        self.0.metrics.refused(Cause::ConnectionLimit);
        None
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.others.fetch_sub(1, Ordering::Relaxed);
    }
}
