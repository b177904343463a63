//! One connection, from its request to its end.

pub(crate) mod accept;
pub(crate) mod allowed_hosts;
pub(crate) mod auth;
pub(crate) mod handle;
pub(crate) mod host_names;
pub(crate) mod joining;
pub(crate) mod listeners;
pub(crate) mod member;
pub(crate) mod membership;
pub(crate) mod origin;
pub(crate) mod proxy;
pub(crate) mod receive;
pub(crate) mod request;
pub(crate) mod send;
pub(crate) mod state;
pub(crate) mod task;
pub(crate) mod websocket;
