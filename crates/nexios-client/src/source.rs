//! Values that an attempt needs: fixed, or made for each attempt.

use std::fmt::Display;
use std::sync::Arc;

use crate::transport::BoxFuture;

type Make = dyn Fn() -> BoxFuture<Result<String, String>> + Send + Sync;

/// A text, or a function that makes one.
#[derive(Clone)]
pub(crate) enum Source {
    Fixed(String),
    Made(Arc<Make>),
}

impl Source {
    pub(crate) fn made<F, T, E>(make: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Into<String>,
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

    pub(crate) async fn get(&self) -> Result<String, String> {
        match self {
            Source::Fixed(text) => Ok(text.clone()),
            Source::Made(make) => make().await,
        }
    }
}
