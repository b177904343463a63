//! The crossing from nexios to Python's asyncio, and nothing else.
//!
//! The engine runs inline on the thread of the event loop: `loop.add_reader(fd, turn)`. A turn
//! releases the GIL to poll, read and parse, takes it to resume the handlers whose messages
//! have come, and releases it again to write. Handlers are ordinary asyncio tasks; what they
//! await are the objects of `receive` and `future`.

mod app;
mod asgi;
mod broadcast;
mod broker;
mod completed;
mod connection;
mod convert;
mod engine;
mod errors;
mod faces;
mod future;
mod handle;
mod handshake;
mod host;
mod local;
mod log;
mod presence;
mod publisher;
mod rate_limit;
mod receive;
mod room_handle;
mod route;
mod router;
mod router_handle;
mod run;
mod settings;
mod signal;
mod signal_handlers;
mod socket;
mod testing;
mod unix_socket;
mod waiter;
mod waiting;
mod watchdog;
mod websocket;

use pyo3::prelude::*;

#[cfg(windows)]
compile_error!("nexios does not run on Windows: its engine waits with epoll or kqueue");

/// The part of the package `nexios` that is written in Rust.
#[pymodule(name = "_nexios", gil_used = true)]
mod module {
    #[pymodule_export]
    use crate::app::App;
    #[pymodule_export]
    use crate::asgi::AsgiRequest;
    #[pymodule_export]
    use crate::broker::{Broker, Hub, MemoryBroker};
    #[pymodule_export]
    use crate::completed::Completed;
    #[pymodule_export]
    use crate::engine::Engine;
    #[pymodule_export]
    use crate::handle::Handle;
    #[pymodule_export]
    use crate::publisher::{Publisher, Publishing};
    #[pymodule_export]
    use crate::rate_limit::RateLimit;
    #[pymodule_export]
    use crate::room_handle::RoomHandle;
    #[pymodule_export]
    use crate::router::WsRouter;
    #[pymodule_export]
    use crate::router_handle::RouterHandle;
    #[pymodule_export]
    use crate::testing::TestConnection;
    #[pymodule_export]
    use crate::unix_socket::UnixSocket;
    #[pymodule_export]
    use crate::waiting::Waiting;
    #[pymodule_export]
    use crate::watchdog::{Watchdog, watch_parent};
    #[pymodule_export]
    use crate::websocket::WebSocket;
}
