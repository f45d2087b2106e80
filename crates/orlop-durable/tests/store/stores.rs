//! Where stores are.

use orlop_durable::StoreConfig;
use orlop_durable::store::{self, Store, StoreError};
use orlop_testbed::Postgres;
use std::sync::Arc;
use tempfile::TempDir;

/// A place for a store, which is empty at first and goes with this.
pub(crate) struct Place {
    config: StoreConfig,
    kind: Kind,
}

enum Kind {
    Sqlite { _folder: TempDir },
    Postgres(Box<Postgres>),
}

impl Place {
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self { config: StoreConfig::Sqlite(folder.path().to_owned()), kind: Kind::Sqlite { _folder: folder } }
    }

    pub(crate) fn postgres() -> Self {
        let postgres = Postgres::start();
        let config = postgres.database("work").parse().expect("a URL");
        Self { config, kind: Kind::Postgres(Box::new(postgres)) }
    }

    /// Opens the store for the engine at an address.
    pub(crate) async fn try_open(&self, address: &str) -> Result<Arc<dyn Store>, StoreError> {
        store::open(&self.config, address).await
    }

    /// Opens the store and takes it over.
    pub(crate) async fn open(&self) -> Arc<dyn Store> {
        let store = self.try_open("here").await.expect("a store that opens");
        store.take_over().await.expect("a store that is taken over");
        store
    }

    /// Closes the store and opens it again.
    pub(crate) async fn reopen(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        store.close().await;
        drop(store);
        self.open().await
    }

    pub(crate) fn server(&mut self) -> Option<&mut Postgres> {
        match &mut self.kind {
            Kind::Postgres(postgres) => Some(postgres),
            Kind::Sqlite { .. } => None,
        }
    }
}
