//! Exception handlers: the nearest that fits, there the most specific, then the default.

use std::any::Any;
use std::future::Future;
use std::sync::Arc;

use crate::connection::websocket::WebSocket;
use crate::error::{Error, Result, WebSocketDisconnect, WebSocketException, WebSocketTypeError};
use crate::routing::handler::{IntoResult, LocalFuture, Resulting};

/// What an exception handler can be registered for: every error type, and
/// [`Error`](crate::Error) for whatever comes.
///
/// A [`WebSocketTypeError`] is also a [`WebSocketException`] with code 1003.
pub trait Exception: Sized + 'static {
    /// How well the error fits; the highest wins, 0 does not fit.
    fn fits(error: &Error) -> u8;

    /// The error as this type.
    ///
    /// # Errors
    /// The error itself, where it does not fit.
    fn from_error(error: Error) -> Result<Self, Error>;
}

impl<E: std::error::Error + 'static> Exception for E {
    fn fits(error: &Error) -> u8 {
        match error.is::<E>() {
            true => 3,
            false if upcast::<E>(error).is_some() => 2,
            false => 0,
        }
    }

    fn from_error(error: Error) -> Result<Self, Error> {
        error.downcast::<E>().or_else(|error| upcast(&error).ok_or(error))
    }
}

impl Exception for Error {
    fn fits(_: &Error) -> u8 {
        1
    }

    fn from_error(error: Error) -> Result<Self, Error> {
        Ok(error)
    }
}

/// The one relation between exceptions that the reference has.
fn upcast<E: 'static>(error: &Error) -> Option<E> {
    let mut exception = error.downcast_ref::<WebSocketTypeError>().map(WebSocketException::from);
    let any: &mut dyn Any = &mut exception;
    any.downcast_mut::<Option<E>>()?.take()
}

/// Takes errors of handlers, middleware and message listeners; every `async fn(WebSocket, E)` is one.
///
/// ```
/// use nexios::{CloseCode, WebSocket, WebSocketException, WsRouter};
///
/// async fn handle_ws_error(ws: WebSocket, exc: WebSocketException) -> nexios::Result {
///     ws.close(CloseCode::INTERNAL_ERROR, exc.to_string()).await?;
///     Ok(())
/// }
///
/// let router = WsRouter::new().exception_handler::<WebSocketException, _>(handle_ws_error);
/// ```
pub trait ExceptionHandler<E>: Send + Sync + 'static {
    /// Runs it.
    fn call(&self, ws: WebSocket, exception: E) -> LocalFuture<Result>;
}

impl<E, F, Fut> ExceptionHandler<E> for F
where
    F: Fn(WebSocket, E) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: IntoResult> + 'static,
{
    fn call(&self, ws: WebSocket, exception: E) -> LocalFuture<Result> {
        Box::pin(Resulting::new(self(ws, exception)))
    }
}

/// A handler whose type is forgotten.
#[derive(Clone)]
pub(crate) struct AnyExceptionHandler {
    fits: fn(&Error) -> u8,
    run: Arc<dyn Fn(WebSocket, Error) -> LocalFuture<Result> + Send + Sync>,
}

impl AnyExceptionHandler {
    pub(crate) fn new<E: Exception>(handler: impl ExceptionHandler<E>) -> Self {
        let run = move |ws, error| match E::from_error(error) {
            Ok(exception) => handler.call(ws, exception),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        };
        AnyExceptionHandler { fits: E::fits, run: Arc::new(run) }
    }

    pub(crate) fn call(&self, ws: WebSocket, error: Error) -> LocalFuture<Result> {
        (self.run)(ws, error)
    }
}

/// The exception handlers that a route has, one list for each level, nearest first.
#[derive(Clone, Default)]
pub(crate) struct ExceptionHandlers(Vec<Arc<[AnyExceptionHandler]>>);

impl ExceptionHandlers {
    /// Those of a router before those of what it stands under.
    pub(crate) fn under(&self, own: Vec<AnyExceptionHandler>) -> Self {
        let mut levels = self.clone();
        if !own.is_empty() {
            levels.0.insert(0, own.into());
        }
        levels
    }

    /// The one for this error.
    pub(crate) fn find(&self, error: &Error) -> Option<&AnyExceptionHandler> {
        self.0.iter().find_map(|level| {
            let fitting = level.iter().filter(|handler| (handler.fits)(error) > 0);
            fitting.max_by_key(|handler| (handler.fits)(error))
        })
    }
}

/// What becomes of a connection whose error nobody took.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Unhandled {
    /// It was over anyway.
    Nothing,
    /// The exception says how to close.
    Close(WebSocketException),
    /// A fault of ours: 1011 without a reason, before accept HTTP 500.
    Fault,
}

impl Unhandled {
    pub(crate) fn of(error: &Error) -> Self {
        if error.is::<WebSocketDisconnect>() {
            return Unhandled::Nothing;
        }
        let exception = error.downcast_ref::<WebSocketException>().cloned();
        exception.or_else(|| upcast(error)).map_or(Unhandled::Fault, Unhandled::Close)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nexios_protocol::CloseCode;
    use std::num::ParseIntError;

    fn handler<E: Exception>() -> AnyExceptionHandler {
        AnyExceptionHandler::new::<E>(async |_: WebSocket, _: E| ())
    }

    fn found(levels: &[&[AnyExceptionHandler]], error: &Error) -> Option<(usize, usize)> {
        let handlers = ExceptionHandlers(levels.iter().map(|level| level.to_vec().into()).collect());
        let found = handlers.find(error)?;
        levels
            .iter()
            .enumerate()
            .find_map(|(i, level)| Some((i, level.iter().position(|handler| Arc::ptr_eq(&handler.run, &found.run))?)))
    }

    fn type_error() -> Error {
        WebSocketTypeError { message: "x".into() }.into()
    }

    #[test]
    fn the_nearest_level_wins_over_the_most_specific() {
        let far = [handler::<WebSocketTypeError>()];
        let near = [handler::<ParseIntError>(), handler::<WebSocketException>()];
        assert_eq!(found(&[&near, &far], &type_error()), Some((0, 1)));
        assert_eq!(found(&[&near[..1], &far], &type_error()), Some((1, 0)));
    }

    #[test]
    fn within_a_level_the_most_specific_wins() {
        let level = [handler::<Error>(), handler::<WebSocketException>(), handler::<WebSocketTypeError>()];
        assert_eq!(found(&[&level], &type_error()), Some((0, 2)));
        assert_eq!(found(&[&level[..2]], &type_error()), Some((0, 1)));
        assert_eq!(found(&[&level[..1]], &type_error()), Some((0, 0)));
        assert_eq!(found(&[&level], &Error::msg("x")), Some((0, 0)));
        assert_eq!(found(&[&level[1..]], &Error::msg("x")), None);
    }

    #[test]
    fn of_two_for_the_same_type_the_later_wins() {
        let level = [handler::<Error>(), handler::<Error>()];
        assert_eq!(found(&[&level], &Error::msg("x")), Some((0, 1)));
    }

    #[test]
    fn a_disconnect_is_no_websocket_exception() {
        let error: Error = WebSocketDisconnect { code: 1006, reason: "".into() }.into();
        assert_eq!(found(&[&[handler::<WebSocketException>()]], &error), None);
        assert_eq!(Unhandled::of(&error), Unhandled::Nothing);
    }

    #[test]
    fn by_default_an_exception_closes_with_its_own_code() {
        let exception = WebSocketException::from("no");
        assert_eq!(Unhandled::of(&exception.clone().into()), Unhandled::Close(exception));
        assert_eq!(Unhandled::of(&Error::msg("x")), Unhandled::Fault);
        let Unhandled::Close(exception) = Unhandled::of(&type_error()) else { panic!("not closed") };
        assert_eq!(exception.code, CloseCode::UNSUPPORTED_DATA);
    }

    #[test]
    fn a_type_error_can_be_taken_as_the_exception_that_it_is() {
        let exception = WebSocketException::from_error(type_error()).unwrap();
        assert_eq!(exception.code.get(), 1003);
        assert!(ParseIntError::from_error(type_error()).is_err());
    }
}
