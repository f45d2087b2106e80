//! Several awaits at once, begun and asked in the order in which they are given, so that replay sees the same.

use crate::failure::Failure;
use futures::future::{join_all, select_all, select_ok};

/// Waits for all, and answers in the order given.
pub async fn all<I>(calls: I) -> Vec<<I::Item as IntoFuture>::Output>
where
    I: IntoIterator<Item: IntoFuture>,
{
    join_all(calls.into_iter().map(IntoFuture::into_future)).await
}

/// The first that succeeds, or the failure of the last; the others are called off.
///
/// # Errors
/// When all fail, or there are none.
pub async fn any<I, T>(calls: I) -> Result<T, Failure>
where
    I: IntoIterator<Item: IntoFuture<Output = Result<T, Failure>, IntoFuture: Unpin>>,
{
    let begun: Vec<_> = calls.into_iter().map(IntoFuture::into_future).collect();
    if begun.is_empty() {
        return Err(Failure::new("there is nothing to choose from").is_final());
    }
    select_ok(begun).await.map(|(value, _)| value)
}

/// The place and the result of the first that ends; the others are called off.
///
/// # Panics
/// When there are none.
pub async fn race<I>(calls: I) -> (usize, <I::Item as IntoFuture>::Output)
where
    I: IntoIterator<Item: IntoFuture<IntoFuture: Unpin>>,
{
    let begun = calls.into_iter().map(IntoFuture::into_future);
    let (first, place, _) = select_all(begun).await;
    (place, first)
}
