//! The table in force.

use crate::upstream::{Clock, Upstream, UpstreamKey};
use arc_swap::ArcSwap;
use orlop_follower::ViewState;
use orlop_model::{Route, RouteKey};
use orlop_proxy_core::balance::pick;
use orlop_proxy_core::table::{Conflict, Table};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Who answers for a route.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) route: RouteKey,
    backends: Vec<Arc<Upstream>>,
}

impl Target {
    pub(crate) fn is_empty(&self) -> bool {
        self.backends.is_empty()
    }

    /// A backend for a request, by its place; none of those that were tried.
    pub(crate) fn pick(&self, tried: &[usize], clock: Clock) -> Option<(usize, &Arc<Upstream>)> {
        let gauge = |i: usize| self.backends[i].gauge();
        let place = pick(self.backends.len(), gauge, tried, rand::random(), clock.now())?;
        Some((place, &self.backends[place]))
    }
}

/// The table in force, and the backends in it.
#[derive(Debug)]
pub(crate) struct Routes {
    table: ArcSwap<Table<Arc<Target>>>,
    clock: Clock,
}

impl Routes {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { table: ArcSwap::default(), clock }
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    /// The table in force; kept by who took it, whatever comes after.
    pub(crate) fn table(&self) -> Arc<Table<Arc<Target>>> {
        self.table.load_full()
    }

    /// The target of a request.
    pub(crate) fn http(&self, host: Option<&str>, path: &str) -> Option<Arc<Target>> {
        self.table.load().http(host, path).cloned()
    }

    /// The target of a port.
    pub(crate) fn port(&self, port: u16) -> Option<Arc<Target>> {
        self.table.load().ports().get(&port).cloned()
    }
}

/// Builds tables; remembers backends from one to the next, so that what is known of them, and connections to them,
/// stay.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    upstreams: BTreeMap<UpstreamKey, Arc<Upstream>>,
    conflicts: Vec<Conflict>,
}

impl Builder {
    /// Puts the routes of a view in force.
    pub(crate) fn apply(&mut self, view: &ViewState, routes: &Routes) {
        let mut upstreams = BTreeMap::new();
        let table = Table::build(view.routes(), |route: &Route| {
            let backends = route.backends.iter().map(|backend| {
                let key = Upstream::key(backend);
                let known = upstreams.get(&key).or_else(|| self.upstreams.get(&key)).cloned();
                let upstream = known.unwrap_or_else(|| Arc::new(Upstream::new(key, routes.clock)));
                upstreams.insert(key, upstream.clone());
                upstream
            });
            Arc::new(Target { route: route.key(), backends: backends.collect() })
        });
        if self.conflicts != table.conflicts() {
            self.conflicts = table.conflicts().to_vec();
            for conflict in &self.conflicts {
                tracing::warn!(%conflict, "two routes claim the same");
            }
        }
        routes.table.store(Arc::new(table));
        // A backend that left ends with its last request; connections that wait to it end now.
        self.upstreams = upstreams;
    }

    /// Closes connections that waited too long.
    pub(crate) fn sweep(&self) {
        self.upstreams.values().for_each(|upstream| upstream.sweep());
    }
}
