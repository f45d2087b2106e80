//! What every store must do: the same tests over each of them.

mod lease;
mod limits;
mod reading;
mod rows;
mod stores;
mod writing;

/// The tests of a module, over each store.
macro_rules! over_each_store {
    ($($test:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::stores::Place::sqlite()).await;
            })*
        }
        mod postgres {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::stores::Place::postgres()).await;
            })*
        }
    };
}
pub(crate) use over_each_store;
