//! `fence_xvm` and `fence_virt`: one program, two roles, told apart by the name it is called by.

use std::process::ExitCode;

fn main() -> ExitCode {
    fence_xvm::run(std::env::args_os())
}
