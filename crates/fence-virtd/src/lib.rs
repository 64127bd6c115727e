//! fence_virtd as a library, so that tests, fuzz targets and the binary share one code.

pub mod config;
