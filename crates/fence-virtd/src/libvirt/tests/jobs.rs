//! What the cluster has this host do.

use fence_cluster::seam::{Job, LocalDomain, Migration, Outcome as Done};

use super::libvirtd::Libvirtd;
use super::*;
use crate::libvirt::jobs::Jobs;

impl Rig {
    fn jobs(&self) -> Jobs {
        Jobs::new(self.backend.clone())
    }

    fn off(&self, domain: Uuid, keep_definition: bool) -> Job {
        let now = self.clock.now();
        Job::Off {
            domain,
            keep_definition,
            begin_by: now + Duration::from_secs(8),
            end_by: now + Duration::from_secs(10),
        }
    }

    fn start(&self, domain: Uuid) -> Job {
        let now = self.clock.now();
        Job::Start {
            domain,
            begin_by: now + Duration::from_secs(8),
            end_by: now + Duration::from_secs(10),
        }
    }
}

const DESTROYED: Done = Done::Off {
    migrating: false,
    vanished: false,
};

fn one(done: Done) -> LocalDomain {
    let Done::Found(mut found) = done else {
        panic!("{done:?}");
    };
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

fn find(text: &str) -> Job {
    Job::Find(DomainRef::new(text).unwrap())
}

#[tokio::test]
async fn look_tells_what_the_domain_is_and_find_knows_names_and_uuids() {
    let dir = Dir::new();
    let paused = domain_in("c", uuid(3), 3, "");
    let nodes = [running("a", uuid(1)), shut_off("b", uuid(2)), paused];
    let rig = Rig::new(&[dir.node("node", &nodes)]).await;
    let jobs = rig.jobs();
    let a = one(jobs.execute(Job::Look(uuid(1))).await);
    assert_eq!((&*a.identity.name, a.active, a.state), ("a", true, 1));
    assert_eq!(a.migration, Migration::None);
    assert_eq!(one(jobs.execute(find("a")).await), a);
    let upper = uuid(1).to_string().to_uppercase();
    assert_eq!(one(jobs.execute(find(&upper)).await), a);
    let b = one(jobs.execute(Job::Look(uuid(2))).await);
    assert_eq!((b.active, b.state), (false, 5));
    // Paused is active, and nothing speaks for a migration.
    let c = one(jobs.execute(find("c")).await);
    assert_eq!((c.active, c.state, c.migration), (true, 3, Migration::None));
    for nobody in [find("nobody"), Job::Look(uuid(9))] {
        assert_eq!(jobs.execute(nobody).await, Done::Found(Vec::new()));
    }
}

#[tokio::test]
async fn text_that_means_two_domains_finds_both_and_a_look_only_its_own() {
    let dir = Dir::new();
    let odd = uuid(1).to_string();
    let nodes = [running("a", uuid(1)), running(&odd, uuid(2))];
    let rig = Rig::new(&[dir.node("node", &nodes)]).await;
    let jobs = rig.jobs();
    let Done::Found(found) = jobs.execute(find(&odd)).await else {
        panic!("nothing found");
    };
    let mut uuids: Vec<_> = found.iter().map(|it| it.identity.uuid).collect();
    uuids.sort();
    assert_eq!(uuids, [uuid(1), uuid(2)]);
    assert_eq!(one(jobs.execute(Job::Look(uuid(1))).await).identity.name, "a");
}

#[tokio::test]
async fn off_says_how_it_is_known() {
    let dir = Dir::new();
    let nodes = [running("a", uuid(1)), running("b", uuid(2))];
    let rig = Rig::new(&[dir.node("node", &nodes)]).await;
    let jobs = rig.jobs();
    assert_eq!(jobs.execute(rig.off(uuid(1), false)).await, DESTROYED);
    assert_eq!(rig.instance(0, "a").await, None);
    assert_eq!(jobs.execute(rig.off(uuid(1), false)).await, Done::WasOff);
    assert_eq!(jobs.execute(rig.off(uuid(9), false)).await, Done::WasAbsent);
    assert!(rig.instance(0, "b").await.is_some());
}

#[tokio::test]
async fn domain_is_started_from_its_definition_once() {
    let dir = Dir::new();
    let rig = Rig::new(&[dir.node("node", &[shut_off("a", uuid(1))])]).await;
    let jobs = rig.jobs();
    assert_eq!(jobs.execute(rig.start(uuid(1))).await, Done::Started);
    let instance = rig.instance(0, "a").await;
    assert!(instance.is_some());
    assert_eq!(jobs.execute(rig.start(uuid(1))).await, Done::Started);
    assert_eq!(rig.instance(0, "a").await, instance);
    let failed = jobs.execute(rig.start(uuid(9))).await;
    assert!(matches!(failed, Done::Failed(_)), "{failed:?}");
}

#[tokio::test]
async fn transient_domain_comes_back_only_from_what_an_off_kept_and_until_it_is_forgotten() {
    let dir = Dir::new();
    let nodes = [transient("a", uuid(1)), transient("b", uuid(2)), transient("c", uuid(3))];
    let rig = Rig::new(&[dir.node("node", &nodes)]).await;
    let jobs = rig.jobs();
    assert_eq!(jobs.execute(rig.off(uuid(1), true)).await, DESTROYED);
    assert_eq!(jobs.execute(rig.off(uuid(1), true)).await, Done::WasAbsent);
    assert_eq!(jobs.execute(rig.start(uuid(1))).await, Done::Started);
    assert!(rig.instance(0, "a").await.is_some());

    assert_eq!(jobs.execute(rig.off(uuid(2), false)).await, DESTROYED);
    let failed = jobs.execute(rig.start(uuid(2))).await;
    assert!(matches!(failed, Done::Failed(_)), "{failed:?}");

    assert_eq!(jobs.execute(rig.off(uuid(3), true)).await, DESTROYED);
    jobs.execute(Job::Forget(uuid(3))).await;
    let failed = jobs.execute(rig.start(uuid(3))).await;
    assert!(matches!(failed, Done::Failed(_)), "{failed:?}");
    assert_eq!(rig.instance(0, "c").await, None);
}

#[tokio::test]
async fn job_whose_time_is_over_is_never_begun() {
    let dir = Dir::new();
    let nodes = [running("a", uuid(1)), shut_off("b", uuid(2))];
    let rig = Rig::new(&[dir.node("node", &nodes)]).await;
    let jobs = rig.jobs();
    let (mut off, mut start) = (rig.off(uuid(1), false), rig.start(uuid(2)));
    if let (Job::Off { begin_by, .. }, Job::Start { begin_by: other, .. }) = (&mut off, &mut start)
    {
        *begin_by = rig.clock.now();
        *other = rig.clock.now();
    }
    assert_eq!(jobs.execute(off).await, Done::NotBegun);
    assert_eq!(jobs.execute(start).await, Done::NotBegun);
    assert!(rig.instance(0, "a").await.is_some());
    assert_eq!(rig.instance(0, "b").await, None);
}

#[tokio::test]
async fn nothing_is_begun_when_the_daemon_ends_but_looks_are_answered() {
    let dir = Dir::new();
    let nodes = [running("a", uuid(1)), shut_off("b", uuid(2))];
    let rig = Rig::new(&[dir.node("node", &nodes)]).await;
    let jobs = rig.jobs();
    rig.backend.shutdown();
    assert_eq!(jobs.execute(rig.off(uuid(1), false)).await, Done::NotBegun);
    assert_eq!(jobs.execute(rig.start(uuid(2))).await, Done::NotBegun);
    assert!(one(jobs.execute(Job::Look(uuid(1))).await).active);
}

#[tokio::test]
async fn domain_of_several_hypervisors_is_one_and_is_started_where_it_was() {
    let dir = Dir::new();
    let first = dir.node("first", &[shut_off("a", uuid(1))]);
    let second = dir.node("second", &[running("a", uuid(1))]);
    let rig = Rig::new(&[first, second]).await;
    let jobs = rig.jobs();
    assert!(one(jobs.execute(Job::Look(uuid(1))).await).active);
    assert_eq!(jobs.execute(rig.off(uuid(1), true)).await, DESTROYED);
    assert_eq!(rig.instance(1, "a").await, None);
    assert_eq!(jobs.execute(rig.start(uuid(1))).await, Done::Started);
    assert_eq!(rig.instance(0, "a").await, None);
    assert!(rig.instance(1, "a").await.is_some());
    assert_eq!(jobs.execute(Job::Ping).await, Done::Alive);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn silence_is_told_in_seconds_and_at_once_when_it_is_known() {
    let libvirtd = Libvirtd::start().await;
    let rig = Rig::new(&[libvirtd.uri()]).await;
    let jobs = rig.jobs();
    let domain = one(jobs.execute(find("test")).await).identity.uuid;
    let stopped = libvirtd.stop();
    let began = Instant::now();
    assert_eq!(jobs.execute(Job::Look(domain)).await, Done::Silent);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(9), "{took:?}");
    let began = Instant::now();
    for job in [Job::Look(domain), find("test"), Job::Ping] {
        assert_eq!(jobs.execute(job.clone()).await, Done::Silent, "{job:?}");
    }
    let off = jobs.execute(rig.off(domain, false)).await;
    assert!(matches!(off, Done::Silent | Done::Failed(_)), "{off:?}");
    let took = began.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}");
    drop(stopped);
    eventually(async || jobs.execute(Job::Ping).await == Done::Alive).await;
    assert_eq!(jobs.execute(rig.off(domain, false)).await, DESTROYED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn off_and_on_of_a_dead_libvirtd_fail_in_time() {
    let mut libvirtd = Libvirtd::start().await;
    let rig = Rig::new(&[libvirtd.uri()]).await;
    let jobs = rig.jobs();
    let domain = one(jobs.execute(find("test")).await).identity.uuid;
    libvirtd.kill();
    for job in [rig.off(domain, true), rig.start(domain), Job::Ping] {
        let began = Instant::now();
        let done = jobs.execute(job).await;
        assert!(matches!(done, Done::Silent | Done::Failed(_)), "{done:?}");
        let took = began.elapsed();
        assert!(took < Duration::from_secs(12), "{took:?}");
    }
}

#[tokio::test]
async fn nothing_is_known_of_a_domain_while_a_call_for_it_does_not_return() {
    let dir = Dir::new();
    let nodes = [running("a", uuid(1)), running("b", uuid(2))];
    let rig = Rig::new(&[dir.node("node", &nodes)]).await;
    let jobs = rig.jobs();
    let stuck = rig.backend.0.lanes.enter(uuid(1)).await.unwrap();
    stuck.give_up();
    for job in [
        Job::Look(uuid(1)),
        find("a"),
        rig.off(uuid(1), false),
        rig.start(uuid(1)),
    ] {
        assert_eq!(jobs.execute(job.clone()).await, Done::Silent, "{job:?}");
    }
    assert!(rig.instance(0, "a").await.is_some());
    assert_eq!(jobs.execute(rig.off(uuid(2), false)).await, DESTROYED);
    drop(stuck);
    assert!(one(jobs.execute(find("a")).await).active);
    assert_eq!(jobs.execute(rig.off(uuid(1), false)).await, DESTROYED);
}
