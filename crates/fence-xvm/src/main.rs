//! fence_xvm and fence_virt.

fn main() {}
