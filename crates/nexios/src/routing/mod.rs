//! Building an app: routes, groups, middleware, listeners, and the table of routes that a served app asks.

pub(crate) mod app;
pub(crate) mod build;
mod builders;
pub(crate) mod event;
pub(crate) mod exception;
pub(crate) mod handler;
pub(crate) mod middleware;
pub(crate) mod options;
pub(crate) mod path;
pub(crate) mod rate_limit;
pub(crate) mod route;
pub(crate) mod router;

pub use exception::{Exception, ExceptionHandler};
pub use handler::{Handler, IntoResult};

pub use crate::error::IntoCloseCode;
