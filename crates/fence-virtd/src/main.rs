//! fence_virtd.

fn main() {}
