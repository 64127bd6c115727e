//! Whether the whole host is shutting down, so that nothing is started on it any more.

use std::path::Path;
use std::time::Duration;

use crate::program;

/// Where systemd's tool may be.
const SYSTEMCTL: [&str; 2] = ["/usr/bin/systemctl", "/bin/systemctl"];

/// The daemon's own end does not wait longer.
const PATIENCE: Duration = Duration::from_millis(400);

/// Asks systemd. False where there is none, or no answer in time.
pub(super) async fn is_under_way() -> bool {
    let Some(systemctl) = SYSTEMCTL.iter().map(Path::new).find(|it| it.is_file()) else {
        return false;
    };
    let ran = program::run(systemctl, &["is-system-running"], PATIENCE).await;
    ran.is_ok_and(|ran| says_so(&ran.output))
}

/// What it prints while the manager shuts everything down. "offline" is a system without it.
fn says_so(output: &[u8]) -> bool {
    output.trim_ascii() == b"stopping"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_system_that_stops_is_shutting_down() {
        assert!(says_so(b"stopping\n"));
        for other in [
            &b"running"[..],
            b"degraded\n",
            b"offline\n",
            b"",
            b"not stopping",
        ] {
            assert!(!says_so(other));
        }
    }

    #[tokio::test]
    async fn this_machine_is_not_shutting_down() {
        assert!(!is_under_way().await);
    }
}
