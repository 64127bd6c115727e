//! Whether calls to corosync hang for no reason of corosync's own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use crate::program;
use crate::sync::lock;

/// Corosync's own tool, a process of its own, and a question that any corosync answers.
const TOOL: &str = "/usr/sbin/corosync-cmapctl";
const QUESTION: [&str; 2] = ["-g", "totem.version"];

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The calls of one [`super::Corosync`].
pub struct Calls(Arc<Shared>);

impl Calls {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self(Arc::clone(shared))
    }

    /// What hangs although corosync answers others. While it answers nobody, nothing does: a new process could not
    /// talk to it either.
    pub async fn wedged(&self) -> Option<String> {
        if !lock(&self.0.state).crowded {
            return None;
        }
        let ran = program::run(Path::new(TOOL), &QUESTION, PATIENCE).await;
        let answers = ran.is_ok_and(|ran| ran.code == Some(0));
        answers.then(|| "calls to corosync do not return although it answers others".to_owned())
    }
}
