//! Whether a host was fenced: asked of pacemaker, or of a program of the operator's.
//!
//! The answer decides whether domains of a host that is gone may be called off, so everything that is odd
//! is "unknown". docs/cluster.md says what a proof has to prove.

mod history;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fence_cluster::seam::{NodeId, Proof, WallTime};
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::config::FenceProof;
use crate::program;
use crate::sync::lock;

/// Where pacemaker's tool may be.
const STONITH_ADMIN: [&str; 3] = [
    "/usr/sbin/stonith_admin",
    "/usr/local/sbin/stonith_admin",
    "/usr/bin/stonith_admin",
];

/// How long a program may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// An answer serves everybody who asks the same within this time.
const FRESH: Duration = Duration::from_secs(1);

/// Hosts whose answers are kept: more than corosync can have.
const MAX_HOSTS: usize = 256;

/// Finds out whether hosts were fenced.
#[derive(Debug)]
pub struct Prover {
    by: By,
    hosts: Mutex<HashMap<NodeId, Arc<AsyncMutex<Option<Kept>>>>>,
}

#[derive(Debug)]
enum By {
    Pacemaker(PathBuf),
    Command(PathBuf),
    Nobody,
}

/// The last answer about a host.
#[derive(Debug)]
struct Kept {
    since: WallTime,
    proof: Proof,
    when: Instant,
}

/// Pacemaker's tool, where it is installed.
#[must_use]
pub fn stonith_admin() -> Option<&'static Path> {
    STONITH_ADMIN.iter().map(Path::new).find(|it| it.is_file())
}

/// Whether what `stonith_admin --history` printed is an answer of the fencer.
///
/// # Errors
/// Why it is none.
pub fn answers(xml: &str) -> Result<(), String> {
    history::answers(xml)
}

impl Prover {
    /// By what is configured, else by what is installed. Warns if that is nothing.
    #[must_use]
    pub fn new(configured: Option<&FenceProof>) -> Self {
        let installed = stonith_admin();
        let by = match (configured, installed) {
            (Some(FenceProof::None), _) => By::Nobody,
            (Some(FenceProof::Command(program)), _) => By::Command(program.clone()),
            (Some(FenceProof::Pacemaker) | None, Some(program)) => {
                By::Pacemaker(program.to_owned())
            }
            (Some(FenceProof::Pacemaker), None) => {
                warn!(
                    "fence_proof is pacemaker, and stonith_admin is not installed: until it is (Debian's package pacemaker-cli-utils) and the daemon is restarted, domains of a host that is gone are never reported fenced"
                );
                By::Nobody
            }
            (None, None) => {
                warn!(
                    "nothing can prove that a host was fenced, so domains of a host that is gone are never reported fenced: install pacemaker or set fence_proof and fence_proof_command"
                );
                By::Nobody
            }
        };
        if let By::Command(program) = &by
            && !program.is_file()
        {
            let program = program.display();
            warn!(%program, "fence_proof_command names no file: until it does, domains of a host that is gone are never reported fenced");
        }
        match &by {
            By::Pacemaker(program) => {
                info!(program = %program.display(), "pacemaker proves that hosts were fenced");
            }
            By::Command(program) => {
                info!(program = %program.display(), "a program proves that hosts were fenced");
            }
            By::Nobody => {}
        }
        Self {
            by,
            hosts: Mutex::default(),
        }
    }

    /// Whether there is any use in asking.
    #[must_use]
    pub const fn is_possible(&self) -> bool {
        !matches!(self.by, By::Nobody)
    }

    /// Whether the host was fenced, and that was over at `since` or later. At most one program at a time runs for
    /// each host; it has five seconds.
    pub async fn ask(&self, node: NodeId, name: Option<&str>, since: WallTime) -> Proof {
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return Proof::Unknown("the host has no name in corosync's nodelist".to_owned());
        };
        let Some(host) = self.host(node) else {
            return Proof::Unknown("too many hosts".to_owned());
        };
        let mut kept = host.lock().await;
        if let Some(kept) = kept.as_ref()
            && kept.since == since
            && kept.when.elapsed() < FRESH
        {
            return kept.proof.clone();
        }
        let proof = match &self.by {
            By::Nobody => Proof::Unknown("fence_proof is none".to_owned()),
            By::Pacemaker(program) => by_pacemaker(program, name, since).await,
            By::Command(program) => by_command(program, name, since).await,
        };
        *kept = Some(Kept {
            since,
            proof: proof.clone(),
            when: Instant::now(),
        });
        proof
    }

    fn host(&self, node: NodeId) -> Option<Arc<AsyncMutex<Option<Kept>>>> {
        let mut hosts = lock(&self.hosts);
        if hosts.len() >= MAX_HOSTS && !hosts.contains_key(&node) {
            return None;
        }
        Some(Arc::clone(hosts.entry(node).or_default()))
    }
}

fn wall() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    WallTime(since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }))
}

async fn by_pacemaker(program: &Path, name: &str, since: WallTime) -> Proof {
    // As one word, so that no name is taken for an option.
    let history = format!("--history={name}");
    let arguments = [&*history, "--verbose", "--output-as=xml"];
    match program::run(program, &arguments, PATIENCE).await {
        Ok(ran) => history::verdict(&String::from_utf8_lossy(&ran.output), name, since, wall()),
        Err(why) => Proof::Unknown(format!("stonith_admin: {why}")),
    }
}

async fn by_command(program: &Path, name: &str, since: WallTime) -> Proof {
    let seconds = (since.0 / 1000).to_string();
    let shown = program.display();
    match program::run(program, &[name, &seconds], PATIENCE).await {
        Ok(ran) => match ran.code {
            Some(0) => Proof::Fenced {
                // When exactly is not told, only that it was not before. A later time would also prove that the
                // host did not come back since.
                at: since,
                by: format!("{shown}: {}", first_line(&ran.output)),
            },
            Some(1) => Proof::NotFenced,
            Some(2) => Proof::Unknown(format!(
                "{shown} does not know: {}",
                first_line(&ran.output)
            )),
            Some(code) => Proof::Unknown(format!("{shown} ended with exit code {code}")),
            None => Proof::Unknown(format!("{shown} was killed by a signal")),
        },
        Err(why) => Proof::Unknown(format!("{shown}: {why}")),
    }
}

/// For a log: one line, without what could disturb it.
fn first_line(output: &[u8]) -> String {
    const LONGEST: usize = 200;
    let text = String::from_utf8_lossy(output);
    let line = text.lines().next().unwrap_or_default().trim();
    let line = line.chars().filter(|c| !c.is_control()).take(LONGEST);
    line.collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NODE: NodeId = NodeId(3);
    const SINCE: WallTime = WallTime(1_700_000_000_900);

    /// A program in a directory that goes with it.
    struct Script(PathBuf);

    impl Script {
        fn new(name: &str, body: &str) -> Self {
            let name = format!("fence-virtd-proof-{}-{name}", std::process::id());
            let directory = std::env::temp_dir().join(name);
            fs::create_dir_all(&directory).unwrap();
            let script = Self(directory);
            fs::write(script.path(), format!("#!/bin/sh\n{body}\n")).unwrap();
            let mode = fs::Permissions::from_mode(0o700);
            fs::set_permissions(script.path(), mode).unwrap();
            script
        }

        fn path(&self) -> PathBuf {
            self.0.join("prove")
        }

        fn file(&self, name: &str) -> String {
            fs::read_to_string(self.0.join(name)).unwrap_or_default()
        }

        fn prover(&self) -> Prover {
            Prover::new(Some(&FenceProof::Command(self.path())))
        }
    }

    impl Drop for Script {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    async fn ask(script: &Script) -> Proof {
        script.prover().ask(NODE, Some("alpha"), SINCE).await
    }

    #[tokio::test]
    async fn exit_codes_of_the_program_are_its_answer() {
        for (number, known) in [(0, true), (1, true), (2, false), (3, false), (127, false)] {
            let script = Script::new(&number.to_string(), &format!("exit {number}"));
            let proof = ask(&script).await;
            assert_eq!(!matches!(proof, Proof::Unknown(_)), known, "{proof:?}");
            assert_eq!(
                matches!(proof, Proof::Fenced { .. }),
                number == 0,
                "{proof:?}"
            );
        }
        let killed = Script::new("killed", "kill -9 $$");
        assert!(matches!(ask(&killed).await, Proof::Unknown(_)));
    }

    #[tokio::test]
    async fn program_gets_name_and_seconds_without_a_shell_and_nothing_else() {
        let body = "echo \"$#:$1:$2\" >\"${0%/*}/args\"; env | sort >\"${0%/*}/env\"; echo 'BMC says off'; echo more";
        let script = Script::new("args", body);
        let name = "alpha; touch /tmp/x";
        let Proof::Fenced { at, by } = script.prover().ask(NODE, Some(name), SINCE).await else {
            panic!("no proof");
        };
        assert_eq!(at, SINCE);
        assert!(by.ends_with(": BMC says off"), "{by}");
        assert_eq!(script.file("args").trim(), format!("2:{name}:1700000000"));
        let inherited = script.file("env");
        assert!(!inherited.contains("HOME=") && inherited.contains("LC_ALL=C"));
    }

    #[tokio::test]
    async fn one_program_at_a_time_serves_all_who_ask_the_same() {
        let script = Script::new("once", "echo x >>\"${0%/*}/runs\"; sleep 0.2");
        let prover = Arc::new(script.prover());
        let mut asking = tokio::task::JoinSet::new();
        for _ in 0..10 {
            let prover = Arc::clone(&prover);
            asking.spawn(async move { prover.ask(NODE, Some("alpha"), SINCE).await });
        }
        for proof in asking.join_all().await {
            assert!(matches!(proof, Proof::Fenced { .. }), "{proof:?}");
        }
        assert_eq!(script.file("runs").lines().count(), 1);
        // Somebody else's question is another one.
        prover.ask(NODE, Some("alpha"), WallTime(SINCE.0 + 1)).await;
        assert_eq!(script.file("runs").lines().count(), 2);
    }

    #[tokio::test]
    async fn nothing_is_proven_by_nobody_by_what_is_not_there_or_for_a_host_without_a_name() {
        let nobody = Prover::new(Some(&FenceProof::None));
        assert!(!nobody.is_possible());
        let missing = Prover::new(Some(&FenceProof::Command("/nonexistent/x".into())));
        let script = Script::new("noname", "exit 0");
        for (prover, name) in [
            (nobody, Some("alpha")),
            (missing, Some("alpha")),
            (script.prover(), None),
            (script.prover(), Some("")),
        ] {
            let proof = prover.ask(NODE, name, SINCE).await;
            assert!(matches!(proof, Proof::Unknown(_)), "{proof:?}");
        }
    }

    #[test]
    fn what_a_program_prints_is_one_short_line_in_the_log() {
        assert_eq!(first_line(b" off \x1b[1m\nsecond"), "off [1m");
        assert_eq!(first_line(b""), "");
        assert_eq!(first_line(&[b'x'; 1000]).len(), 200);
    }
}
