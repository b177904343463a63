//! What a connection has beside its face in Python: the engine's side, and who waits for a message.

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use nexios::ConnectionId;
use pyo3::prelude::*;

use crate::host::Host;
use crate::route::PyRoute;
use crate::waiter::Waiter;

/// What Python's object and the engine's task share.
pub(crate) struct Core {
    pub(crate) ws: nexios::WebSocket,
    pub(crate) host: Rc<Host>,
    pub(crate) route: Arc<PyRoute>,
    /// The connection's own task, as long as it runs the handler: it wakes the receiver at no cost.
    task: RefCell<Option<Waker>>,
    pub(crate) receiver: RefCell<Option<Py<Waiter>>>,
}

impl Core {
    pub(crate) fn new(ws: nexios::WebSocket, host: Rc<Host>, route: Arc<PyRoute>, task: Waker) -> Rc<Self> {
        Rc::new(Core { ws, host, route, task: RefCell::new(Some(task)), receiver: RefCell::default() })
    }

    pub(crate) fn has_task(&self) -> bool {
        self.task.borrow().is_some()
    }

    pub(crate) fn with_task<R>(&self, look: impl FnOnce(Option<&Waker>) -> R) -> R {
        look(self.task.borrow().as_ref())
    }

    /// The next message, or the end, goes to this wait.
    pub(crate) fn await_message(&self, waiter: Py<Waiter>) {
        let before = self.receiver.replace(Some(waiter));
        drop(before);
    }

    pub(crate) fn forget_message(&self, waiter: &Py<Waiter>) {
        let same = self.receiver.borrow().as_ref().is_some_and(|own| own.as_ptr() == waiter.as_ptr());
        let taken = same.then(|| self.receiver.take());
        drop(taken);
    }

    /// Something has happened to the connection: whoever receives has another look.
    pub(crate) fn resume_receiver(&self) {
        let waiter = self.receiver.take();
        self.host.woken.borrow_mut().extend(waiter);
    }

    /// The handler is over; who still receives is woken by other means from now on.
    pub(crate) fn lose_task(&self) {
        self.task.replace(None);
        self.resume_receiver();
    }
}

/// Makes the loop forget the connection when its task has ended.
pub(crate) struct Known(Rc<Host>, ConnectionId);

impl Known {
    pub(crate) fn of(host: &Rc<Host>, ws: &nexios::WebSocket) -> Rc<dyn Any> {
        Rc::new(Known(host.clone(), ws.id()))
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        let socket = self.0.sockets.borrow_mut().remove(&self.1);
        drop(socket);
    }
}
