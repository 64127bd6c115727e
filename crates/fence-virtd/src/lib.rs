//! fence_virtd as a library, so that tests, fuzz targets and the binary share one code.

pub mod backend;
pub mod background;
pub mod board;
pub mod check;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod corosync;
pub mod counters;
pub mod daemon;
mod descriptor;
pub mod domain_xml;
pub mod door;
pub mod gate;
pub mod hub;
pub mod libvirt;
pub mod links;
pub mod listener;
pub mod logging;
pub mod manager;
pub mod members;
pub mod memory;
pub mod pid_file;
mod post;
pub mod program;
pub mod proof;
pub mod reload;
#[cfg(test)]
mod scratch;
pub mod session;
pub mod stream;
pub mod supervisor;
pub mod sync;
mod vitals;
pub mod watchdog;
pub mod wizard;
