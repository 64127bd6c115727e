//! Agents and hosts, all of them the real cores, on one virtual clock and a network that loses,
//! duplicates, reorders, delays and cuts: hours of it in seconds, and every run repeatable by its
//! seed.
//!
//! What is simulated is the shells: sockets, call-backs, the backend with the domains' real state.
//! What must hold whatever happens is in `invariants`; the tests are in `honest` (it works, and how
//! fast), `chaos` (it stays true when everything goes wrong at once) and `attacks`.
#![cfg(test)]

mod agent;
mod attacks;
mod chaos;
mod domains;
mod honest;
mod host;
mod invariants;
mod link;
mod orders;
mod rng;
mod stranger;
mod world;
