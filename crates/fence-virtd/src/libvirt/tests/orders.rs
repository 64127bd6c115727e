//! Deadlines, turns and the end of the daemon.

use std::future::Future;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Waker};

use fence_proto::Reason;
use fence_proto::fencing::Goal;

use super::super::act::{
    Authority, Change, START_AGAIN, START_WITHIN, Start, Started, Transient, count_failed_start,
    start,
};
use super::super::lanes::Place;
use super::*;

async fn one_domain(dir: &Dir) -> Rig {
    Rig::new(&[dir.node("node", &[running("a", uuid(1)), shut_off("b", uuid(2))])]).await
}

#[tokio::test]
async fn order_whose_time_is_over_is_never_begun() {
    let dir = Dir::new();
    let rig = one_domain(&dir).await;
    for (action, domain) in [(Action::Off, "a"), (Action::Reboot, "a"), (Action::On, "b")] {
        let mut task = rig.task(action, domain);
        task.start_by = rig.clock.now();
        let before = rig.instance(0, "a").await;
        let outcome = rig.backend.run(task, CancelFlag::new()).await;
        assert_eq!(
            outcome,
            Outcome::NotStarted(Reason::OrderExpired),
            "{action}"
        );
        assert_eq!(rig.instance(0, "a").await, before);
        assert_eq!(rig.instance(0, "b").await, None);
    }
}

#[tokio::test]
async fn order_of_a_requester_that_is_gone_is_never_begun() {
    let dir = Dir::new();
    let rig = one_domain(&dir).await;
    for (action, domain) in [(Action::Off, "a"), (Action::On, "b")] {
        let flag = CancelFlag::new();
        flag.cancel();
        let outcome = rig.backend.run(rig.task(action, domain), flag).await;
        assert_eq!(
            outcome,
            Outcome::NotStarted(Reason::RequesterGone),
            "{action}"
        );
    }
    assert!(rig.instance(0, "a").await.is_some());
    assert_eq!(rig.instance(0, "b").await, None);
}

#[tokio::test]
async fn nothing_is_begun_after_shutdown_but_questions_are_answered() {
    let dir = Dir::new();
    let rig = one_domain(&dir).await;
    rig.backend.shutdown();
    let outcome = rig.order(Action::Off, "a").await;
    assert_eq!(outcome, Outcome::NotStarted(Reason::ShuttingDown));
    assert_eq!(rig.order(Action::Status, "a").await, SUCCESS);
}

#[tokio::test]
async fn order_that_needs_no_change_succeeds_without_beginning() {
    let dir = Dir::new();
    let rig = one_domain(&dir).await;
    let flag = CancelFlag::new();
    flag.cancel();
    let task = rig.task(Action::Off, "b");
    assert_eq!(rig.backend.run(task, flag).await, SUCCESS);
}

#[tokio::test]
async fn orders_for_one_domain_are_carried_out_one_after_another() {
    let dir = Dir::new();
    let rig = Arc::new(one_domain(&dir).await);
    let mut orders = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let rig = Arc::clone(&rig);
        orders.spawn(async move { rig.order(Action::Reboot, "a").await });
    }
    while let Some(outcome) = orders.join_next().await {
        assert_eq!(outcome.unwrap(), SUCCESS);
    }
    // Runs 1 and 2 came with the file; each reboot made one more.
    let first = rig.instance(0, "a").await.unwrap();
    assert!(first >= 21, "{first}");
}

#[tokio::test]
async fn order_that_waits_for_its_turn_too_long_expires() {
    let dir = Dir::new();
    let rig = one_domain(&dir).await;
    let turn = rig.backend.0.lanes.enter(uuid(1)).await.unwrap();
    let mut task = rig.task(Action::Off, "a");
    task.start_by = rig.clock.now() + Duration::from_millis(100);
    let outcome = rig.backend.run(task, CancelFlag::new()).await;
    assert_eq!(outcome, Outcome::NotStarted(Reason::OrderExpired));
    assert!(rig.instance(0, "a").await.is_some());
    // Others are not held up, and the status of this one can be asked.
    assert_eq!(rig.order(Action::On, "b").await, SUCCESS);
    assert_eq!(rig.order(Action::Status, "a").await, SUCCESS);
    drop(turn);
    assert_eq!(rig.order(Action::Off, "a").await, SUCCESS);
}

#[tokio::test]
async fn order_that_was_begun_goes_on_when_nobody_waits_any_more() {
    let dir = Dir::new();
    let rig = one_domain(&dir).await;
    let before = rig.instance(0, "a").await;
    let task = rig.task(Action::Reboot, "a");
    let mut order = Box::pin(rig.backend.run(task, CancelFlag::new()));
    // Begun, and dropped at its first wait.
    let first = order.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(first.is_pending());
    drop(order);
    eventually(async || {
        let now = rig.instance(0, "a").await;
        now.is_some() && now != before
    })
    .await;
}

#[tokio::test]
async fn fifty_domains_are_rebooted_at_once() {
    let dir = Dir::new();
    let nodes: Vec<_> = (0..50)
        .map(|number| running(&format!("vm{number}"), uuid(number)))
        .collect();
    let rig = Arc::new(Rig::new(&[dir.node("node", &nodes)]).await);
    let began = Instant::now();
    let mut orders = tokio::task::JoinSet::new();
    for number in 0..50 {
        let rig = Arc::clone(&rig);
        orders.spawn(async move { rig.order(Action::Reboot, &format!("vm{number}")).await });
    }
    while let Some(outcome) = orders.join_next().await {
        assert_eq!(outcome.unwrap(), SUCCESS);
    }
    assert!(began.elapsed() < Duration::from_secs(1));
    let list = rig.order(Action::List, "").await;
    assert!(names(&list).iter().all(|(_, state)| *state == 1));
}

fn change(rig: &Rig, uuid: Uuid, place: &Arc<Place>) -> Change {
    let inner = &rig.backend.0;
    Change {
        uuid,
        goal: Goal::Replace,
        authority: Authority::Groups(Requester::new(Source::Cid(3), Arc::clone(&rig.access))),
        keep_definition: false,
        seqno: 1,
        start_by: rig.clock.now(),
        deadline: rig.clock.now(),
        clock: rig.clock,
        common: Arc::clone(&inner.common),
        cancelled: CancelFlag::new(),
        begun: OnceLock::new(),
        place: Arc::downgrade(place),
        migrated: AtomicBool::new(false),
    }
}

#[tokio::test]
async fn off_destroys_a_domain_whose_start_hangs_and_is_no_success_before_that_start_is_over() {
    let dir = Dir::new();
    let rig = one_domain(&dir).await;
    // As a start leaves it that never returns: its turn is given up, it is under way.
    let place = Arc::new(rig.backend.0.lanes.enter(uuid(1)).await.unwrap());
    let under_way = place.begin_start();
    assert!(under_way.is_some());
    place.give_up();
    for _ in 0..2 {
        let mut task = rig.task(Action::Off, "a");
        task.answer_by = rig.clock.now() + Duration::from_secs(1);
        assert_eq!(rig.backend.run(task, CancelFlag::new()).await, FAILURE);
        assert_eq!(rig.instance(0, "a").await, None);
    }
    assert_eq!(rig.order(Action::On, "a").await, FAILURE);
    assert_eq!(rig.instance(0, "a").await, None);
    let end = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        drop(under_way);
    };
    let (off, ()) = tokio::join!(rig.order(Action::Off, "a"), end);
    assert_eq!(off, SUCCESS);
    assert_eq!(rig.order(Action::On, "a").await, SUCCESS);
}

#[tokio::test]
async fn second_half_of_a_reboot_that_lost_its_turn_is_never_begun() {
    let dir = Dir::new();
    let rig = one_domain(&dir).await;
    let place = Arc::new(rig.backend.0.lanes.enter(uuid(2)).await.unwrap());
    let change = change(&rig, uuid(2), &place);
    place.give_up();
    let how = Start::Again {
        ticket: Arc::default(),
        place,
        transient: None,
    };
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let job = move |worker: &mut super::super::worker::Worker| {
        let _ = sender.send(start(worker, &change, &how));
    };
    let host = &rig.backend.0.hosts[0];
    host.submit(Lane::Act, Box::new(job)).unwrap();
    assert_eq!(receiver.await.unwrap(), Started::NotBegun);
    assert_eq!(rig.instance(0, "b").await, None);
}

#[tokio::test]
async fn status_of_a_domain_that_is_being_changed_waits_for_the_change_but_not_for_ever() {
    let dir = Dir::new();
    let rig = one_domain(&dir).await;
    let turn = rig.backend.0.lanes.enter(uuid(2)).await.unwrap();
    let reboot = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        rig.aside(0, |connection| {
            let domain = Domain::lookup_by_name(connection.raw(), "b").unwrap();
            domain.create().unwrap();
        })
        .await;
        drop(turn);
    };
    let (status, ()) = tokio::join!(rig.order(Action::Status, "b"), reboot);
    assert_eq!(status, SUCCESS);
    assert_eq!(rig.order(Action::Off, "b").await, SUCCESS);
    let _hung = rig.backend.0.lanes.enter(uuid(2)).await.unwrap();
    let began = Instant::now();
    assert_eq!(rig.order(Action::Status, "b").await, OFF);
    let waited = began.elapsed();
    assert!(waited < Duration::from_secs(4), "{waited:?}");
}

#[tokio::test]
async fn failed_start_after_a_fence_is_counted() {
    let dir = Dir::new();
    let rig = one_domain(&dir).await;
    // It is defined nowhere, and there is no definition to start it from.
    assert_eq!(start_again(&rig, None).await, Started::Failed);
    count_failed_start(&rig.backend.0.common, uuid(9), 1, "test");
    assert_eq!(rig.backend.counters().failed_starts, 1);
}

#[tokio::test]
async fn start_after_a_fence_that_libvirt_fails_is_tried_once_more() {
    let dir = Dir::new();
    let rig = one_domain(&dir).await;
    let began = Instant::now();
    // Another domain has the name, so libvirt fails it every time.
    let transient = Transient {
        name: "a".to_owned(),
        definition: format!(
            "<domain type='test'><name>a</name><uuid>{}</uuid><memory>8192</memory>\
             <os><type>hvm</type></os></domain>",
            uuid(9)
        ),
    };
    let started = start_again(&rig, Some(transient)).await;
    let took = began.elapsed();
    assert_eq!(started, Started::Failed);
    assert!(took >= START_AGAIN, "{took:?}");
    assert!(took < START_WITHIN, "{took:?}");
}

/// The second half of a reboot of a domain that is not there.
async fn start_again(rig: &Rig, transient: Option<Transient>) -> Started {
    let place = Arc::new(rig.backend.0.lanes.enter(uuid(9)).await.unwrap());
    let change = change(rig, uuid(9), &place);
    let how = Start::Again {
        ticket: Arc::default(),
        place,
        transient,
    };
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let job = move |worker: &mut super::super::worker::Worker| {
        let _ = sender.send(start(worker, &change, &how));
    };
    let host = &rig.backend.0.hosts[0];
    host.submit(Lane::Act, Box::new(job)).unwrap();
    receiver.await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn question_that_hangs_stops_others_at_once_and_only_until_an_answer_comes() {
    let dir = Dir::new();
    let rig = one_domain(&dir).await;
    let host = &rig.backend.0.hosts[0];
    let (release, hang) = std::sync::mpsc::channel::<()>();
    let job = move |_: &mut super::super::worker::Worker| {
        let _ = hang.recv();
    };
    host.submit(Lane::Ask, Box::new(job)).unwrap();
    eventually(async || rig.order(Action::Status, "a").await == FAILURE || host.is_hung()).await;
    assert_eq!(rig.backend.counters().hung_calls, 1);
    // The hypervisor itself is well: it is found out although that call never returns.
    eventually(async || rig.order(Action::Status, "a").await == SUCCESS).await;
    assert_eq!(rig.order(Action::Off, "a").await, SUCCESS);
    assert!(!host.is_hung());
    drop(release);
}
