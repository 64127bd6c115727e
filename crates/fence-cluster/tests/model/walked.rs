//! The core on random walks: by default a number that is soon done, more by FENCE_WALKS, from another
//! seed on by FENCE_SEED.

use fence_cluster::Cluster;

use crate::walk::walks;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

#[test]
fn nothing_breaks_on_random_walks() {
    let first = number("FENCE_SEED", 1_000_000);
    let walked = walks::<Cluster>(first..first + number("FENCE_WALKS", 200));
    let walked = walked.unwrap_or_else(|broken| {
        println!("{}", broken.trace);
        panic!("the walk with seed {} breaks a property", broken.seed);
    });
    println!("{walked:?}");
    assert!(
        walked.claims * 20 > walked.answers,
        "hardly anything was claimed"
    );
}
