//! A served app: listeners, threads, TLS, plain HTTP, and the service that the engine calls.

pub(crate) mod access;
pub(crate) mod host;
pub(crate) mod http;
pub(crate) mod serve;
pub(crate) mod service;
pub(crate) mod static_files;
pub(crate) mod tls;
