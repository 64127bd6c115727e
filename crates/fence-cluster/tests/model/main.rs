//! The model checker: the real core of every member, in a world that is explored state by state.
//!
//! `truth` is what really runs where; `world`, `net` and `corosync` are the hosts and what lies between
//! them; `happening`, `environment` and `possible` what may happen to them, and what is assumed not to; `schedule`
//! the order of things; `claims` the properties. `exhaustive` explores the core, `walked` goes further at random,
//! `original_is_caught` and `bends_are_caught` show that the properties can break. docs/cluster.md, section "Model".
#![cfg(test)]

mod bends_are_caught;
mod bent;
mod claims;
mod corosync;
mod environment;
mod exhaustive;
mod explore;
mod happening;
mod libvirt;
mod member;
mod net;
mod original;
mod original_is_caught;
mod plan;
mod possible;
mod rules;
mod schedule;
mod step;
mod truth;
mod walk;
mod walked;
mod world;
