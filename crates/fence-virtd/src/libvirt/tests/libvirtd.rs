//! A real libvirtd of our own that is stopped, killed and started again.

use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use fence_proto::fencing::Sighting;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, chown, geteuid};

use super::*;

/// The user that has nothing.
const NOBODY: u32 = 65_534;

/// A libvirtd of our own. Its test driver has one domain, `test`.
pub(crate) struct Libvirtd {
    dir: Dir,
    daemon: Child,
}

impl Libvirtd {
    pub(crate) async fn start() -> Self {
        let dir = Dir::new();
        let path = dir.path().display();
        let config = format!(
            "unix_sock_dir = \"{path}\"\nauth_unix_rw = \"none\"\nauth_unix_ro = \"none\"\n\
             unix_sock_rw_perms = \"0700\"\nlog_outputs = \"3:file:{path}/log\"\n"
        );
        fs::write(dir.path().join("libvirtd.conf"), config).unwrap();
        let daemon = Self::run(&dir);
        let mut libvirtd = Self { dir, daemon };
        libvirtd.wait_until_up().await;
        libvirtd
    }

    /// Never as root: then each would want the machine's one set of locks in /run.
    fn run(dir: &Dir) -> Child {
        let mut command = Command::new("libvirtd");
        if geteuid().is_root() {
            chown(dir.path(), Some(NOBODY.into()), Some(NOBODY.into())).unwrap();
            command.uid(NOBODY).gid(NOBODY);
        }
        for variable in [
            "HOME",
            "XDG_RUNTIME_DIR",
            "XDG_CONFIG_HOME",
            "XDG_CACHE_HOME",
        ] {
            command.env(variable, dir.path());
        }
        command
            .arg("--config")
            .arg(dir.path().join("libvirtd.conf"))
            .arg("--pid-file")
            .arg(dir.path().join("pid"))
            .current_dir(dir.path())
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("libvirtd (Debian: libvirt-daemon-system) starts")
    }

    async fn wait_until_up(&mut self) {
        let socket = self.dir.path().join("libvirt-sock");
        eventually(async || UnixStream::connect(&socket).is_ok()).await;
    }

    pub(crate) fn uri(&self) -> String {
        let socket = self.dir.path().join("libvirt-sock");
        format!("test+unix:///default?socket={}", socket.display())
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.daemon.id()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    pub(crate) fn stop(&self) -> Stopped<'_> {
        self.signal(Signal::SIGSTOP);
        Stopped(self)
    }

    pub(crate) fn kill(&mut self) {
        self.daemon.kill().unwrap();
        self.daemon.wait().unwrap();
    }

    pub(crate) async fn start_again(&mut self) {
        self.daemon = Self::run(&self.dir);
        self.wait_until_up().await;
    }
}

impl Drop for Libvirtd {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// A libvirtd that does nothing until this is dropped.
pub(crate) struct Stopped<'a>(&'a Libvirtd);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.signal(Signal::SIGCONT);
    }
}

// On a runtime like the daemon's.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn domains_behind_libvirtd_are_fenced() {
    let libvirtd = Libvirtd::start().await;
    let rig = Rig::new(&[libvirtd.uri()]).await;
    assert_eq!(rig.order(Action::Status, "test").await, SUCCESS);
    let before = rig.instance(0, "test").await;
    assert_eq!(rig.order(Action::Reboot, "test").await, SUCCESS);
    let after = rig.instance(0, "test").await;
    assert!(after.is_some() && after != before);
    assert_eq!(rig.order(Action::Off, "test").await, SUCCESS);
    assert_eq!(rig.order(Action::Status, "test").await, OFF);
    assert_eq!(rig.order(Action::On, "test").await, SUCCESS);
    assert_eq!(rig.order(Action::Monitor, "").await, SUCCESS);
    let list = rig.order(Action::List, "").await;
    assert_eq!(names(&list), [("test".to_owned(), 1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn paused_domain_behind_libvirtd_is_on() {
    let libvirtd = Libvirtd::start().await;
    let rig = Rig::new(&[libvirtd.uri()]).await;
    rig.aside(0, |connection| {
        let domain = Domain::lookup_by_name(connection.raw(), "test").unwrap();
        domain.suspend().unwrap();
    })
    .await;
    assert_eq!(rig.order(Action::Status, "test").await, SUCCESS);
    assert_eq!(rig.order(Action::Off, "test").await, SUCCESS);
    assert_eq!(rig.order(Action::Status, "test").await, OFF);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn fifty_domains_behind_libvirtd_are_rebooted_at_once() {
    let libvirtd = Libvirtd::start().await;
    let rig = Arc::new(Rig::new(&[libvirtd.uri()]).await);
    rig.aside(0, |connection| {
        for number in 0..50 {
            let xml = running(&format!("vm{number}"), uuid(number));
            let domain = Domain::define_xml(connection.raw(), &xml).unwrap();
            domain.create().unwrap();
        }
    })
    .await;
    let mut orders = tokio::task::JoinSet::new();
    let began = Instant::now();
    for number in 0..50 {
        let rig = Arc::clone(&rig);
        orders.spawn(async move { rig.order(Action::Reboot, &format!("vm{number}")).await });
    }
    while let Some(outcome) = orders.join_next().await {
        assert_eq!(outcome.unwrap(), SUCCESS);
    }
    let elapsed = began.elapsed();
    assert!(elapsed < Duration::from_secs(2), "{elapsed:?}");
    let list = rig.order(Action::List, "").await;
    assert_eq!(
        names(&list).iter().filter(|(_, state)| *state == 1).count(),
        51
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn stopped_libvirtd_harms_no_domain_of_another_hypervisor() {
    let dir = Dir::new();
    let libvirtd = Libvirtd::start().await;
    let node = dir.node("alive", &[running("a", uuid(1)), shut_off("b", uuid(2))]);
    let rig = Rig::new(&[libvirtd.uri(), node]).await;
    let stopped = libvirtd.stop();
    let began = Instant::now();
    assert_eq!(rig.order(Action::Status, "a").await, SUCCESS);
    assert!(began.elapsed() < Duration::from_millis(500));
    assert_eq!(rig.order(Action::Off, "a").await, SUCCESS);
    assert_eq!(rig.instance(1, "a").await, None);
    assert_eq!(rig.order(Action::Off, "b").await, SUCCESS);
    assert_eq!(rig.order(Action::On, "a").await, SUCCESS);
    assert_eq!(rig.order(Action::Reboot, "a").await, SUCCESS);
    // Once it is known to hang it costs nothing.
    eventually(async || {
        rig.order(Action::Status, "b").await;
        rig.backend.0.hosts[0].is_hung()
    })
    .await;
    let began = Instant::now();
    assert_eq!(rig.order(Action::Reboot, "a").await, SUCCESS);
    assert_eq!(rig.order(Action::Status, "b").await, OFF);
    assert!(began.elapsed() < Duration::from_millis(500));
    assert!(rig.backend.counters().hung_calls > 0);
    // And when it answers again it is used again.
    drop(stopped);
    eventually(async || rig.order(Action::Status, "test").await == SUCCESS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn domain_that_came_to_a_hypervisor_unasked_is_in_doubt_when_that_one_stops() {
    let dir = Dir::new();
    let libvirtd = Libvirtd::start().await;
    let rig = Rig::new(&[
        dir.node("leftover", &[shut_off("vmx", uuid(1))]),
        libvirtd.uri(),
    ])
    .await;
    rig.aside(1, |connection| {
        Domain::create_xml(connection.raw(), &running("vmx", uuid(1)), 0).unwrap();
    })
    .await;
    // Nobody asks for it: the daemon itself looks what there is, sooner or later.
    eventually(async || {
        let sightings = rig.backend.0.common.sightings();
        sightings.of(1, uuid(1), rig.clock.now()) == Sighting::Active
    })
    .await;
    let stopped = libvirtd.stop();
    let (status, off) = tokio::join!(
        rig.order(Action::Status, "vmx"),
        rig.order(Action::Off, "vmx"),
    );
    assert_eq!(status, FAILURE);
    assert_eq!(off, FAILURE);
    drop(stopped);
    eventually(async || rig.order(Action::Off, "vmx").await == SUCCESS).await;
    assert_eq!(rig.instance(1, "vmx").await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn copy_that_was_destroyed_is_no_success_while_another_runs_on_a_stopped_hypervisor() {
    let dir = Dir::new();
    let libvirtd = Libvirtd::start().await;
    let rig = Rig::new(&[
        dir.node("first", &[running("vmx", uuid(1))]),
        libvirtd.uri(),
    ])
    .await;
    rig.aside(1, |connection| {
        Domain::create_xml(connection.raw(), &running("vmx", uuid(1)), 0).unwrap();
    })
    .await;
    eventually(async || {
        let sightings = rig.backend.0.common.sightings();
        sightings.of(1, uuid(1), rig.clock.now()) == Sighting::Active
    })
    .await;
    let stopped = libvirtd.stop();
    assert_eq!(rig.order(Action::Off, "vmx").await, FAILURE);
    assert_eq!(rig.instance(0, "vmx").await, None);
    drop(stopped);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn order_during_a_stop_is_answered_in_time_and_never_executed_late() {
    let libvirtd = Libvirtd::start().await;
    let rig = Rig::new(&[libvirtd.uri()]).await;
    let before = rig.instance(0, "test").await;
    let stopped = libvirtd.stop();
    let began = Instant::now();
    for action in [Action::Off, Action::Reboot] {
        let mut task = rig.task(action, "test");
        task.answer_by = rig.clock.now() + Duration::from_secs(3);
        let due = Instant::now() + Duration::from_secs(3);
        let outcome = rig.backend.run(task, CancelFlag::new()).await;
        assert_eq!(outcome, FAILURE, "{action}");
        assert!(Instant::now() <= due, "{:?}", began.elapsed());
    }
    drop(stopped);
    eventually(async || rig.order(Action::Status, "test").await == SUCCESS).await;
    // Whatever was queued meanwhile has run by now: this goes through the same threads.
    assert_eq!(rig.instance(0, "test").await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn short_stop_only_delays_an_order() {
    let libvirtd = Libvirtd::start().await;
    let rig = Rig::new(&[libvirtd.uri()]).await;
    let stopped = libvirtd.stop();
    let resume = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(stopped);
    };
    let (outcome, ()) = tokio::join!(rig.order(Action::Off, "test"), resume);
    assert_eq!(outcome, SUCCESS);
    assert_eq!(rig.instance(0, "test").await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn libvirtd_may_be_restarted_between_orders() {
    let mut libvirtd = Libvirtd::start().await;
    let rig = Rig::new(&[libvirtd.uri()]).await;
    for _ in 0..2 {
        assert_eq!(rig.order(Action::Off, "test").await, SUCCESS);
        libvirtd.kill();
        libvirtd.start_again().await;
        // The test driver forgets: the domain runs again.
        assert_eq!(rig.order(Action::Status, "test").await, SUCCESS);
        assert_eq!(rig.order(Action::Off, "test").await, SUCCESS);
    }
    assert!(rig.backend.counters().reconnects > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn libvirtd_may_be_restarted_during_an_order() {
    let mut libvirtd = Libvirtd::start().await;
    let rig = Rig::new(&[libvirtd.uri()]).await;
    libvirtd.kill();
    let restart = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        libvirtd.start_again().await;
    };
    let (outcome, ()) = tokio::join!(rig.order(Action::Off, "test"), restart);
    assert_eq!(outcome, SUCCESS);
    assert_eq!(rig.instance(0, "test").await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn dead_libvirtd_is_a_failure_in_time_and_never_a_success() {
    let mut libvirtd = Libvirtd::start().await;
    let rig = Rig::new(&[libvirtd.uri()]).await;
    libvirtd.kill();
    let (status, off, on, monitor, list) = tokio::join!(
        rig.order(Action::Status, "test"),
        rig.order(Action::Off, "test"),
        rig.order(Action::On, "test"),
        rig.order(Action::Monitor, ""),
        rig.order(Action::List, ""),
    );
    assert_eq!([status, off, on, monitor, list], [const { FAILURE }; 5]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn daemon_that_starts_before_libvirtd_connects_later() {
    let mut libvirtd = Libvirtd::start().await;
    libvirtd.kill();
    let rig = Rig::unready(&[libvirtd.uri()], Access::unrestricted());
    assert!(rig.backend.ready().await.is_err());
    libvirtd.start_again().await;
    eventually(async || rig.backend.ready().await.is_ok()).await;
    assert_eq!(rig.order(Action::Status, "test").await, SUCCESS);
}
