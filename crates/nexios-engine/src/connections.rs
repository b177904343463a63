//! The connections of one shard, by their tokens: eight bytes for each place.

use std::rc::Rc;

use crate::connection::Inner;

/// A place stays a connection's until it is removed; then another gets it.
#[derive(Default)]
pub(crate) struct Connections {
    places: Vec<Option<Rc<Inner>>>,
    free: Vec<u32>,
    open_sockets: usize,
}

impl Connections {
    /// Adds what `make` makes for the token that it is told.
    pub(crate) fn add(&mut self, make: impl FnOnce(u32) -> Inner) -> Rc<Inner> {
        let token = self.free.pop().unwrap_or(self.places.len() as u32);
        let inner = Rc::new(make(token));
        match self.places.get_mut(token as usize) {
            Some(place) => *place = Some(inner.clone()),
            None => self.places.push(Some(inner.clone())),
        }
        self.open_sockets += 1;
        inner
    }

    /// The socket of one of them is gone; its place may still be taken.
    pub(crate) fn socket_is_gone(&mut self) {
        self.open_sockets -= 1;
    }

    pub(crate) fn open_sockets(&self) -> usize {
        self.open_sockets
    }

    pub(crate) fn get(&self, token: u32) -> Option<&Rc<Inner>> {
        self.places.get(token as usize)?.as_ref()
    }

    /// Frees the place of this connection; nothing happens where it is another's.
    pub(crate) fn remove(&mut self, inner: &Inner) {
        let token = inner.token();
        if self.get(token).is_some_and(|owner| std::ptr::eq(&**owner, inner)) {
            self.places[token as usize] = None;
            self.free.push(token);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Rc<Inner>> {
        self.places.iter().flatten()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.places.len() == self.free.len()
    }
}
