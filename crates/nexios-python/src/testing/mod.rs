//! The parts of `nexios.testing`: a client in memory, at the other end of the engine's pipe.

mod client;
mod connection;

pub(crate) use connection::TestConnection;
