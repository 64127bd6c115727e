//! fence_virtd as a library, so that tests, fuzz targets and the binary share one code.

pub mod backend;
pub mod clock;
pub mod config;
pub mod counters;
pub mod hub;
pub mod listener;
pub mod session;
pub mod sync;
