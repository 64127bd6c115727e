//! One hypervisor: what each action does and answers.

use super::*;

#[tokio::test]
async fn status_is_told_by_name_and_by_uuid() {
    let dir = Dir::new();
    let node = dir.node("node", &[running("a", uuid(1)), shut_off("b", uuid(2))]);
    let rig = Rig::new(&[node]).await;
    assert_eq!(rig.order(Action::Status, "a").await, SUCCESS);
    assert_eq!(rig.order(Action::Status, "b").await, OFF);
    assert_eq!(
        rig.order(Action::Status, &uuid(1).to_string()).await,
        SUCCESS
    );
    let upper = uuid(2).to_string().to_uppercase();
    assert_eq!(rig.order(Action::Status, &upper).await, OFF);
}

#[tokio::test]
async fn unknown_domain_has_status_off_and_fails_everything_else() {
    let dir = Dir::new();
    let rig = Rig::new(&[dir.node("node", &[running("a", uuid(1))])]).await;
    for name in ["nope", &uuid(9).to_string()] {
        assert_eq!(rig.order(Action::Status, name).await, OFF);
        for action in [Action::Off, Action::On, Action::Reboot] {
            assert_eq!(rig.order(action, name).await, FAILURE, "{action}");
        }
    }
    assert!(rig.instance(0, "a").await.is_some());
}

#[tokio::test]
async fn off_is_real_and_off_of_what_is_off_succeeds() {
    let dir = Dir::new();
    let nodes = [running("a", uuid(1)), running("b", uuid(2))];
    let rig = Rig::new(&[dir.node("node", &nodes)]).await;
    for _ in 0..2 {
        assert_eq!(rig.order(Action::Off, "a").await, SUCCESS);
        assert_eq!(rig.instance(0, "a").await, None);
        assert_eq!(rig.order(Action::Status, "a").await, OFF);
    }
    assert!(rig.instance(0, "b").await.is_some());
}

#[tokio::test]
async fn every_state_but_shut_off_counts_as_on_and_can_be_fenced() {
    let dir = Dir::new();
    // blocked, paused, in shutdown, crashed, suspended
    for state in [2, 3, 4, 6, 7] {
        let xml = domain_in("a", uuid(1), state, "");
        let rig = Rig::new(&[dir.node(&format!("node{state}"), &[xml])]).await;
        assert_eq!(rig.order(Action::Status, "a").await, SUCCESS, "{state}");
        let list = rig.order(Action::List, "").await;
        assert_eq!(names(&list), [("a".to_owned(), 1)], "{state}");
        assert_eq!(rig.order(Action::Off, "a").await, SUCCESS, "{state}");
        assert_eq!(rig.instance(0, "a").await, None, "{state}");
    }
}

#[tokio::test]
async fn on_starts_and_leaves_alone_what_is_on() {
    let dir = Dir::new();
    let rig = Rig::new(&[dir.node("node", &[shut_off("a", uuid(1))])]).await;
    assert_eq!(rig.order(Action::On, "a").await, SUCCESS);
    let instance = rig.instance(0, "a").await;
    assert!(instance.is_some());
    assert_eq!(rig.order(Action::On, "a").await, SUCCESS);
    assert_eq!(rig.instance(0, "a").await, instance);
}

#[tokio::test]
async fn reboot_makes_a_new_instance_and_leaves_off_what_is_off() {
    let dir = Dir::new();
    let nodes = [running("a", uuid(1)), shut_off("b", uuid(2))];
    let rig = Rig::new(&[dir.node("node", &nodes)]).await;
    let before = rig.instance(0, "a").await;
    assert_eq!(rig.order(Action::Reboot, "a").await, SUCCESS);
    let after = rig.instance(0, "a").await;
    assert!(after.is_some() && after != before);
    assert_eq!(rig.order(Action::Reboot, "b").await, SUCCESS);
    assert_eq!(rig.instance(0, "b").await, None);
    assert_eq!(rig.backend.counters().failed_starts, 0);
}

#[tokio::test]
async fn transient_domain_is_gone_after_off_and_comes_back_after_reboot() {
    let dir = Dir::new();
    let nodes = [transient("a", uuid(1)), transient("b", uuid(2))];
    let rig = Rig::new(&[dir.node("node", &nodes)]).await;
    let before = rig.instance(0, "a").await;
    assert_eq!(rig.order(Action::Reboot, "a").await, SUCCESS);
    let after = rig.instance(0, "a").await;
    assert!(after.is_some() && after != before);
    let uuid_kept = rig.order(Action::Status, &uuid(1).to_string()).await;
    assert_eq!(uuid_kept, SUCCESS);
    assert_eq!(rig.order(Action::Off, "b").await, SUCCESS);
    let list = rig.order(Action::List, "").await;
    assert_eq!(names(&list), [("a".to_owned(), 1)]);
}

#[tokio::test]
async fn null_fails_and_monitor_asks_the_hypervisor() {
    let dir = Dir::new();
    let rig = Rig::new(&[dir.node("node", &[running("a", uuid(1))])]).await;
    assert_eq!(rig.order(Action::Null, "a").await, FAILURE);
    assert_eq!(rig.order(Action::Monitor, "").await, SUCCESS);
}

#[tokio::test]
async fn groups_apply_to_name_and_uuid_whichever_is_sent() {
    let dir = Dir::new();
    let nodes = [
        running("a", uuid(1)),
        running("b", uuid(2)),
        running("c", uuid(3)),
    ];
    let access = group(&["a", &uuid(2).to_string()]);
    let rig = Rig::with_access(&[dir.node("node", &nodes)], access).await;
    for allowed in ["a", "b", &uuid(1).to_string(), &uuid(2).to_string()] {
        assert_eq!(rig.order(Action::Status, allowed).await, SUCCESS);
    }
    let denied = uuid(3).to_string();
    for name in ["c", &denied, "nope"] {
        for action in [Action::Status, Action::Off, Action::On, Action::Reboot] {
            assert_eq!(rig.order(action, name).await, DENIED, "{action} {name}");
        }
    }
    assert!(rig.instance(0, "c").await.is_some());
    assert_eq!(rig.order(Action::Off, "b").await, SUCCESS);
    let list = rig.order(Action::List, "").await;
    assert_eq!(names(&list), [("a".to_owned(), 1), ("b".to_owned(), 5)]);
    assert_eq!(rig.order(Action::Monitor, "").await, SUCCESS);
}

#[tokio::test]
async fn listed_domain_that_does_not_exist_is_unknown_and_not_denied() {
    let dir = Dir::new();
    let node = dir.node("node", &[running("a", uuid(1))]);
    let rig = Rig::with_access(&[node], group(&["nope"])).await;
    assert_eq!(rig.order(Action::Status, "nope").await, OFF);
    assert_eq!(rig.order(Action::Off, "nope").await, FAILURE);
}

#[tokio::test]
async fn stranger_gets_an_empty_list_and_is_denied_the_rest() {
    let dir = Dir::new();
    let node = dir.node("node", &[running("a", uuid(1))]);
    let rig = Rig::with_access(&[node], group(&["a"])).await;
    for (action, answer) in [
        (Action::List, Outcome::List(Vec::new())),
        (Action::Status, DENIED),
        (Action::Off, DENIED),
    ] {
        let mut task = rig.task(action, "a");
        let stranger = Source::Ip("127.0.0.2".parse().unwrap());
        task.requester = Requester::new(stranger, Arc::clone(&rig.access));
        assert_eq!(rig.backend.run(task, CancelFlag::new()).await, answer);
    }
    assert!(rig.instance(0, "a").await.is_some());
}

#[tokio::test]
async fn text_that_is_one_domains_uuid_and_anothers_name_is_refused() {
    let dir = Dir::new();
    let text = uuid(1).to_string();
    let nodes = [running("a", uuid(1)), running(&text, uuid(2))];
    let rig = Rig::new(&[dir.node("node", &nodes)]).await;
    for action in [Action::Off, Action::Reboot, Action::Status] {
        assert_eq!(rig.order(action, &text).await, FAILURE, "{action}");
    }
    let list = rig.order(Action::List, "").await;
    assert!(names(&list).iter().all(|(_, state)| *state == 1));
    // By what is unambiguous it can be fenced.
    assert_eq!(rig.order(Action::Off, &uuid(2).to_string()).await, SUCCESS);
}

#[tokio::test]
async fn ten_thousand_domains_are_listed_by_name() {
    let dir = Dir::new();
    // The driver takes a domain that is on a hundred times as long to load.
    let nodes: Vec<_> = (0..10_000)
        .rev()
        .map(|number| shut_off(&format!("vm{number:05}"), uuid(number)))
        .collect();
    let rig = Rig::new(&[dir.node("node", &nodes)]).await;
    let began = Instant::now();
    let list = names(&rig.order(Action::List, "").await);
    let elapsed = began.elapsed();
    assert_eq!(list.len(), 10_000);
    assert!(list.is_sorted());
    assert_eq!(list[9_999], ("vm09999".to_owned(), 5));
    assert!(elapsed < Duration::from_secs(2), "{elapsed:?}");
}

#[tokio::test]
async fn empty_hypervisor_has_an_empty_list() {
    let dir = Dir::new();
    let rig = Rig::new(&[dir.node("node", &[])]).await;
    let list = rig.order(Action::List, "").await;
    assert_eq!(list, Outcome::List(Vec::new()));
}
