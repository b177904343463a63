//! What the connections of a shard share to read and write: buffers, the codec, boxes, and how much of it is taken.

use std::cell::{Cell, RefCell, RefMut};

use nexios_protocol::Codec;

use crate::connection::{Allowance, Busy, Pool};
use crate::inbox::Inbox;
use crate::input::Input;
use crate::outbox::Outbox;

/// The buffers of one shard, lent to one connection at a time.
pub(crate) struct Buffers {
    input: RefCell<Input>,
    codec: RefCell<Codec>,
    /// The protocol's answers to control frames, on their way to an outbox.
    control_out: RefCell<Vec<u8>>,
    /// A compressed payload, on its way to an outbox.
    packed: RefCell<Vec<u8>>,
    pool: RefCell<Pool>,
    /// What this turn still takes of the connection whose input is being read.
    allowance: Allowance,
    /// Bytes that incomplete and waiting messages hold, of all connections.
    held: Cell<usize>,
}

impl Buffers {
    pub(super) fn new(read_buffer_bytes: usize) -> Self {
        Buffers {
            input: RefCell::new(Input::new(read_buffer_bytes)),
            codec: RefCell::new(Codec::new()),
            control_out: RefCell::default(),
            packed: RefCell::default(),
            pool: RefCell::default(),
            allowance: Allowance::default(),
            held: Cell::new(0),
        }
    }

    /// Returns the read buffer.
    #[inline]
    pub(crate) fn input(&self) -> RefMut<'_, Input> {
        self.input.borrow_mut()
    }

    #[inline]
    pub(crate) fn codec(&self) -> RefMut<'_, Codec> {
        self.codec.borrow_mut()
    }

    #[inline]
    pub(crate) fn control_out(&self) -> RefMut<'_, Vec<u8>> {
        self.control_out.borrow_mut()
    }

    /// Takes the buffer for a compressed payload, which is empty; it goes back by [`give_back_packed`](Self::give_back_packed).
    #[inline]
    pub(crate) fn take_packed(&self) -> Vec<u8> {
        let mut packed = self.packed.take();
        packed.clear();
        packed
    }

    #[inline]
    pub(crate) fn give_back_packed(&self, packed: Vec<u8>) {
        self.packed.replace(packed);
    }

    #[inline]
    pub(crate) fn allowance(&self) -> &Allowance {
        &self.allowance
    }

    /// Returns the bytes that incomplete and waiting messages hold, of all connections.
    #[inline]
    pub(crate) fn held(&self) -> usize {
        self.held.get()
    }

    /// One connection holds `now` bytes, and held `before`.
    #[inline]
    pub(crate) fn holds(&self, now: usize, before: usize) {
        self.held.update(|sum| sum + now - before);
    }

    /// Returns the connection's inbox, from the pool where it has none.
    #[inline]
    pub(crate) fn inbox_of<'a>(&self, busy: &'a mut Option<Box<Busy>>) -> &'a mut Inbox {
        self.pool.borrow_mut().inbox_of(busy)
    }

    /// Returns the connection's outbox, from the pool where it has none.
    #[inline]
    pub(crate) fn outbox_of<'a>(&self, busy: &'a mut Option<Box<Busy>>) -> &'a mut Outbox {
        Pool::outbox_of(&self.pool, busy)
    }

    /// Returns the pool of boxes.
    #[inline]
    pub(crate) fn pool(&self) -> RefMut<'_, Pool> {
        self.pool.borrow_mut()
    }
}
