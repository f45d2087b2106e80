//! What openraft calls of `base2histogram`: it takes every value and keeps none. The statistics that would show them are
//! behind openraft's feature `runtime-stats`, which is off.

use std::fmt;
use std::marker::PhantomData;

/// A histogram that keeps nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    _slots: PhantomData<T>,
}

impl<T> Histogram<T> {
    /// Makes one.
    pub fn new() -> Self {
        Self { _slots: PhantomData }
    }

    /// Takes notice of a value.
    pub fn record(&mut self, _value: u64) {}

    /// Takes notice of a value that came several times.
    pub fn record_n(&mut self, _value: u64, _times: u64) {}

    /// Of nothing.
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats::default()
    }
}

/// All zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it, and nobody reads them")]
pub struct PercentileStats {
    pub samples: u64,
    pub p0_1: u64,
    pub p1: u64,
    pub p5: u64,
    pub p10: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
}

/// A chart of nothing.
#[derive(Debug, Clone, Default)]
pub struct AsciiChart;

impl AsciiChart {
    /// Makes one.
    pub fn new() -> Self {
        Self
    }

    /// The same chart.
    #[must_use]
    pub fn add(self, _name: impl Into<String>, _histogram: Histogram) -> Self {
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not measured")
    }
}
