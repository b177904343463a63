//! Values of an attempt: fixed, or returned by a function for each attempt.

use std::fmt::Display;
use std::sync::Arc;

use crate::transport::BoxFuture;

type Make<T> = dyn Fn() -> BoxFuture<Result<T, String>> + Send + Sync;

/// A value, or a function that makes one.
#[derive(Clone)]
pub(crate) enum Source<T = String> {
    Fixed(T),
    Made(Arc<Make<T>>),
}

impl<T: Clone> Source<T> {
    pub(crate) fn made<F, U, E>(make: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<U, E>> + Send + 'static,
        U: Into<T>,
        E: Display,
    {
        Source::Made(Arc::new(move || {
            let made = make();
            Box::pin(async move { made.await.map(Into::into).map_err(|error| error.to_string()) })
        }))
    }

    pub(crate) fn is_made(&self) -> bool {
        matches!(self, Source::Made(_))
    }

    pub(crate) async fn get(&self) -> Result<T, String> {
        match self {
            Source::Fixed(value) => Ok(value.clone()),
            Source::Made(make) => make().await,
        }
    }
}
