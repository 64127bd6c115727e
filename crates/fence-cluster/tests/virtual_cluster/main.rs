//! Several members, all of them the real core, on one virtual clock, with a made-up corosync and
//! made-up libvirts: partitions, dead and frozen hosts, migrations, hung hypervisors, in
//! milliseconds and repeatable.
//!
//! What is simulated: the agreed order of messages and membership changes (`bus`), each host's
//! libvirt and daemon (`libvirt`, `host`), and the fencing of hosts (`world`). Whatever a test does,
//! every answer is checked against what really runs (`truth`).
#![cfg(test)]

mod answers;
mod bus;
mod chaos;
mod failures;
mod healthy;
mod host;
mod joining;
mod libvirt;
mod original;
mod standstill;
mod truth;
mod world;
