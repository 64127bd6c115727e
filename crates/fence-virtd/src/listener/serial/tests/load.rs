//! Guests that misbehave cost nobody else anything, and the daemon little.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use nix::time::{ClockId, clock_gettime};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;
use tokio::time::{Instant, timeout};

use super::guest::frame;
use super::rig::{Fake, until_deeds};
use super::*;
use crate::backend::Backend;
use crate::libvirt::tests::eventually;

/// Processor time of this thread: the runtime's only one.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .unwrap()
        .into()
}

/// Row L16: a far end that is closed cost the original a whole processor.
#[tokio::test]
async fn socket_that_closes_at_once_every_time_is_not_spun_on() {
    let backend = Fake::new(Until::Now, 0);
    let rig = Rig::new(backend).await;
    let path = rig.path("a");
    let listener = UnixListener::bind(&path).unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    tokio::spawn(async move {
        loop {
            drop(listener.accept().await.unwrap());
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    let _domain = rig.start("a", uuid(1), &[path]);
    let (began, before) = (Instant::now(), processor_time());
    // Pauses of 0.1, 0.2, 0.4, 0.8 and 1.6 seconds.
    while accepted.load(Ordering::SeqCst) < 6 {
        assert!(began.elapsed() < Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let used = processor_time().saturating_sub(before);
    let elapsed = began.elapsed();
    assert!(elapsed > Duration::from_secs(3), "{elapsed:?}");
    assert!(used < elapsed / 20, "{used:?} of {elapsed:?}");
}

#[tokio::test]
async fn socket_that_nobody_listens_on_is_not_spun_on() {
    let backend = Fake::new(Until::Now, 0);
    let rig = Rig::new(backend).await;
    let [gone, dead] = ["gone", "dead"].map(|name| rig.path(name));
    drop(UnixListener::bind(&dead).unwrap());
    let _domain = rig.start("a", uuid(1), &[gone, dead]);
    let before = processor_time();
    tokio::time::sleep(2 * A_WHILE).await;
    let used = processor_time().saturating_sub(before);
    assert!(used < A_WHILE / 10, "{used:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn guest_that_reads_no_answer_is_heard_no_further_and_holds_up_nobody() {
    // A list of half a megabyte, which no socket takes at once.
    let backend = Fake::new(Until::Now, 16);
    let rig = Rig::new(Arc::clone(&backend) as Arc<dyn Backend>).await;
    let [deaf, other] = ["deaf", "other"].map(|name| Guest::listen(&rig.path(name)));
    let _a = rig.start("a", uuid(1), &[deaf.path().to_owned()]);
    let _b = rig.start("b", uuid(2), &[other.path().to_owned()]);
    let (mut deaf, mut other) = (deaf.accept().await, other.accept().await);
    deaf.send(Action::List, "", 1).await;
    // It asks on and on, until nobody takes what it says.
    let mut asked = 0;
    let write = async {
        loop {
            deaf.stream
                .write_all(&frame(Action::Off, "x", 1))
                .await
                .unwrap();
            asked += 1;
        }
    };
    let stuck = timeout(2 * A_WHILE, write).await;
    assert!(stuck.is_err());
    let before = (asked, backend.deeds().len());
    assert!(before.1 < 20, "{} orders of {}", before.1, before.0);
    let began = Instant::now();
    for seqno in 0..10 {
        assert_eq!(other.ask(Action::Off, "y", seqno).await, Reply::Success);
    }
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn guest_that_floods_its_line_is_read_at_a_bounded_rate() {
    let backend = Fake::new(Until::Now, 0);
    let rig = Rig::new(Arc::clone(&backend) as Arc<dyn Backend>).await;
    let [loud, other] = ["loud", "other"].map(|name| Guest::listen(&rig.path(name)));
    let _a = rig.start("a", uuid(1), &[loud.path().to_owned()]);
    let _b = rig.start("b", uuid(2), &[other.path().to_owned()]);
    let (loud, mut other) = (loud.accept().await, other.accept().await);
    let (mut reading, mut writing) = loud.stream.into_split();
    let drain = tokio::spawn(async move {
        let _ = tokio::io::copy(&mut reading, &mut tokio::io::sink()).await;
    });
    let flood = tokio::spawn(async move {
        for seqno in 0.. {
            if writing
                .write_all(&frame(Action::Off, "x", seqno))
                .await
                .is_err()
            {
                return;
            }
        }
    });
    until_deeds(&backend, 5).await;
    let (began, before) = (Instant::now(), backend.deeds().len());
    for seqno in 0..10 {
        assert_eq!(other.ask(Action::Off, "y", seqno).await, Reply::Success);
    }
    tokio::time::sleep(A_WHILE).await;
    let elapsed = began.elapsed();
    let ordered = backend.deeds().len() - before - 10;
    let most = elapsed.as_millis() / 100 * 8 + 16;
    assert!(
        u128::try_from(ordered).unwrap() < most,
        "{ordered} in {elapsed:?}"
    );
    flood.abort();
    drain.abort();
}

/// What is logged by this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl std::io::Write for Log {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let mut log = self.0.lock().unwrap();
        log.push_str(&String::from_utf8_lossy(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn start() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn count(&self, text: &str) -> usize {
        self.0.lock().unwrap().matches(text).count()
    }
}

#[tokio::test]
async fn text_of_a_domains_xml_is_quoted_in_the_log() {
    let (log, _logging) = Log::start();
    let rig = Rig::new(Fake::new(Until::Now, 0)).await;
    let path = rig.path("x\" INFO answered action=off");
    let sockets = std::slice::from_ref(&path);
    let _a = rig.start("a", uuid(1), sockets);
    let _b = rig.start("b INFO answered", uuid(2), sockets);
    eventually(async || log.count("name one socket") == 1).await;
    assert_eq!(log.count("\"b INFO answered\""), 1);
    assert_eq!(log.count("x\\\" INFO answered action=off\""), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn lines_beyond_the_limit_wait_until_others_end() {
    let rig = Rig::new(Fake::new(Until::Now, 0)).await;
    let places = &rig.hub.lines;
    places.forget_permits(places.available_permits() - 1);
    let [first, second] = ["first", "second"].map(|name| Guest::listen(&rig.path(name)));
    let a = rig.start("a", uuid(1), &[first.path().to_owned()]);
    let mut wire = first.served().await;
    let _b = rig.start("b", uuid(2), &[second.path().to_owned()]);
    second.nobody_connects(A_WHILE).await;
    assert_eq!(wire.ask(Action::Off, "x", 1).await, Reply::Success);
    a.destroy().unwrap();
    let mut wire = second.served().await;
    assert_eq!(wire.ask(Action::Off, "x", 2).await, Reply::Success);
}

#[tokio::test]
async fn guest_whose_requests_are_refused_is_answered_at_a_bounded_rate_and_fills_no_log() {
    let (log, _logging) = Log::start();
    let backend = Fake::new(Until::Now, 0);
    let nobody = fence_proto::Access::groups(Vec::new());
    let rig = Rig::with(backend, crate::config::SerialMode::Serial, nobody).await;
    let guest = Guest::listen(&rig.path("a"));
    let _a = rig.start("a", uuid(1), &[guest.path().to_owned()]);
    let mut wire = guest.accept().await;
    assert_eq!(wire.ask(Action::Off, "x", 0).await, Reply::PermissionDenied);
    let began = Instant::now();
    let flood = frame(Action::Off, "x", 1).repeat(7);
    let mut asked = 0_u128;
    let ask = async {
        let mut answer = [0; 4096];
        loop {
            wire.stream.write_all(&flood).await.unwrap();
            asked += 7;
            for _ in 0..7 {
                let read = &mut answer[..19];
                tokio::io::AsyncReadExt::read_exact(&mut wire.stream, read)
                    .await
                    .unwrap();
            }
        }
    };
    assert!(timeout(2 * A_WHILE, ask).await.is_err());
    let most = began.elapsed().as_millis() / 100 * 8 + 16;
    assert!(asked < most, "{asked} in {:?}", began.elapsed());
    let logged = log.count("answered");
    let windows = began.elapsed().as_secs() / 10 + 2;
    assert!(
        logged > 0 && u64::try_from(logged).unwrap() <= 10 * windows,
        "{logged}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn noise_and_half_frames_do_no_harm() {
    let backend = Fake::new(Until::Now, 0);
    let rig = Rig::new(Arc::clone(&backend) as Arc<dyn Backend>).await;
    let guest = Guest::listen(&rig.path("a"));
    let _domain = rig.start("a", uuid(1), &[guest.path().to_owned()]);
    let mut wire = guest.accept().await;
    let noise = b"\r\nlogin: abba abb\0\xff".repeat(50);
    wire.stream.write_all(&noise).await.unwrap();
    let request = frame(Action::Off, "x", 1);
    wire.stream.write_all(&request[..40]).await.unwrap();
    // Half a frame is given up after three seconds.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(wire.ask(Action::Off, "y", 2).await, Reply::Success);
    // One that comes in pieces is whole all the same.
    for piece in frame(Action::Off, "z", 3).chunks(7) {
        wire.stream.write_all(piece).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(wire.hear().await.unwrap().reply, Reply::Success);
    let said: Vec<_> = backend.deeds().into_iter().map(|deed| deed.1).collect();
    assert_eq!(said, ["y", "z"]);
}
