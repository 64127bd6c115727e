use proptest::prelude::*;

use super::*;
use crate::domain_xml::{BadXml, Devices, Unreadable};
use crate::libvirt::watch::Migration;

fn uuid(number: u8) -> Uuid {
    Uuid([number; 16])
}

fn domain(number: u8, run: Option<u32>, serial: &[&str]) -> WatchedDomain {
    let devices = Devices {
        serial: serial.iter().map(PathBuf::from).collect(),
        guestfwd: vec![PathBuf::from(format!("/fwd/{number}"))],
        others: BTreeSet::new(),
        cid: None,
    };
    WatchedDomain {
        uuid: uuid(number),
        name: format!("vm{number}"),
        state: if run.is_some() { 1 } else { 5 },
        reason: 0,
        instance: run,
        persistent: true,
        migration: Migration::None,
        devices: run.map(|_| Ok(devices)),
    }
}

fn on(number: u8, run: u32, serial: &[&str]) -> Notice {
    Notice::Changed(domain(number, Some(run), serial))
}

fn off(number: u8) -> Notice {
    Notice::Changed(domain(number, None, &[]))
}

fn line(number: u8, run: u32, path: &str) -> LineId {
    LineId {
        domain: uuid(number),
        run,
        path: PathBuf::from(path),
    }
}

fn start(number: u8, run: u32, path: &str) -> Change {
    Change::Start(line(number, run, path), format!("vm{number}"))
}

fn stop(number: u8, run: u32, path: &str) -> Change {
    Change::Stop(line(number, run, path))
}

fn contested(path: &str, names: &[&str]) -> Change {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    Change::Contested(PathBuf::from(path), names)
}

fn claims() -> Claims {
    Claims::new(SerialMode::Serial)
}

#[test]
fn lines_come_and_go_with_their_domains_run() {
    let mut claims = claims();
    let started = [start(1, 7, "/a"), start(1, 7, "/b")];
    assert_eq!(claims.take(on(1, 7, &["/a", "/b"])), started);
    assert_eq!(claims.take(on(1, 7, &["/a", "/b"])), []);
    assert!(claims.has(&line(1, 7, "/a")));
    assert_eq!(claims.take(on(1, 7, &["/a"])), [stop(1, 7, "/b")]);
    assert_eq!(claims.take(off(1)), [stop(1, 7, "/a")]);
    assert!(!claims.has(&line(1, 7, "/a")));
    assert_eq!(claims.take(Notice::Gone(uuid(1))), []);
}

#[test]
fn domain_that_was_started_anew_has_a_new_line() {
    let mut claims = claims();
    claims.take(on(1, 7, &["/a"]));
    // Also when the stop in between was not told.
    let changes = claims.take(on(1, 8, &["/a"]));
    assert_eq!(changes, [stop(1, 7, "/a"), start(1, 8, "/a")]);
    assert!(!claims.has(&line(1, 7, "/a")) && claims.has(&line(1, 8, "/a")));
}

#[test]
fn snapshot_ends_the_lines_of_domains_that_are_not_in_it() {
    let mut claims = claims();
    claims.take(on(1, 1, &["/a"]));
    claims.take(on(2, 2, &["/b"]));
    let there = vec![domain(2, Some(2), &["/b"]), domain(3, Some(3), &["/c"])];
    let changes = claims.take(Notice::Snapshot(there));
    assert_eq!(changes, [stop(1, 1, "/a"), start(3, 3, "/c")]);
}

#[test]
fn loss_of_the_hypervisor_ends_no_line() {
    let mut claims = claims();
    claims.take(on(1, 1, &["/a"]));
    assert_eq!(claims.take(Notice::Lost("gone".to_owned())), []);
    assert!(claims.has(&line(1, 1, "/a")));
}

#[test]
fn socket_that_two_domains_name_is_nobodys() {
    let mut claims = claims();
    claims.take(on(1, 1, &["/a", "/own"]));
    let changes = claims.take(on(2, 2, &["/a"]));
    assert_eq!(
        changes,
        [stop(1, 1, "/a"), contested("/a", &["vm1", "vm2"])]
    );
    assert!(claims.has(&line(1, 1, "/own")));
    // Said once.
    assert_eq!(claims.take(on(2, 2, &["/a"])), []);
    assert_eq!(claims.take(on(1, 1, &["/a", "/own"])), []);
    // A new run of one changes nothing, its end frees the other.
    assert_eq!(claims.take(off(1)), [stop(1, 1, "/own"), start(2, 2, "/a")]);
}

#[test]
fn socket_that_another_domain_has_for_something_else_is_no_line() {
    let mut claims = claims();
    claims.take(on(1, 1, &["/a"]));
    let mut other = domain(2, Some(2), &[]);
    if let Some(Ok(devices)) = &mut other.devices {
        devices.others.insert(PathBuf::from("/a"));
    }
    let changes = claims.take(Notice::Changed(other));
    let refused = [stop(1, 1, "/a"), contested("/a", &["vm1", "vm2"])];
    assert_eq!(changes, refused);
    assert_eq!(claims.take(off(2)), [start(1, 1, "/a")]);
    // Of two domains' sockets that are no lines nothing is said.
    let mut claims = Claims::new(SerialMode::Vmchannel);
    claims.take(on(1, 1, &["/a"]));
    assert_eq!(claims.take(on(2, 2, &["/a"])), [start(2, 2, "/fwd/2")]);
}

#[test]
fn path_that_goes_from_one_domain_to_another_is_never_both() {
    let mut claims = claims();
    claims.take(on(1, 1, &["/a"]));
    let there = vec![domain(1, None, &[]), domain(2, Some(2), &["/a"])];
    let changes = claims.take(Notice::Snapshot(there));
    assert_eq!(changes, [stop(1, 1, "/a"), start(2, 2, "/a")]);
    let there = vec![domain(1, Some(3), &["/a"]), domain(2, None, &[])];
    let changes = claims.take(Notice::Snapshot(there));
    assert_eq!(changes.first(), Some(&stop(2, 2, "/a")));
    assert_eq!(changes.last(), Some(&start(1, 3, "/a")));
}

#[test]
fn mode_decides_which_sockets_count() {
    let mut claims = Claims::new(SerialMode::Vmchannel);
    assert_eq!(claims.take(on(1, 1, &["/a"])), [start(1, 1, "/fwd/1")]);
}

fn unreadable(number: u8, run: u32, sockets: &[&str]) -> Notice {
    let mut bad = domain(number, Some(run), &[]);
    bad.devices = Some(Err(Unreadable {
        why: BadXml::NotADomain,
        sockets: sockets.iter().map(PathBuf::from).collect(),
    }));
    Notice::Changed(bad)
}

fn said(name: &str) -> Change {
    Change::Unreadable(name.to_owned(), BadXml::NotADomain.to_string())
}

#[test]
fn domain_whose_xml_cannot_be_read_has_no_lines_and_that_is_said() {
    let mut claims = claims();
    claims.take(on(1, 1, &["/a"]));
    let changes = claims.take(unreadable(1, 1, &["/a"]));
    assert_eq!(changes, [stop(1, 1, "/a"), said("vm1")]);
}

#[test]
fn domain_whose_xml_cannot_be_read_keeps_others_from_the_sockets_that_may_be_its_own() {
    let mut claims = claims();
    claims.take(on(1, 1, &["/a", "/b"]));
    let changes = claims.take(unreadable(2, 2, &["/a", "/c"]));
    let contest = contested("/a", &["vm1", "vm2"]);
    assert_eq!(changes, [stop(1, 1, "/a"), said("vm2"), contest]);
    assert_eq!(
        claims.take(on(3, 3, &["/c", "/d"])),
        [contested("/c", &["vm2", "vm3"]), start(3, 3, "/d")]
    );
    let changes = claims.take(off(2));
    assert_eq!(changes, [start(1, 1, "/a"), start(3, 3, "/c")]);
}

#[test]
fn domain_that_could_not_be_asked_is_what_it_was_as_long_as_it_runs() {
    let mut claims = claims();
    let silent = |run| {
        let mut domain = domain(1, Some(run), &[]);
        domain.devices = None;
        Notice::Changed(domain)
    };
    claims.take(on(1, 1, &["/a"]));
    assert_eq!(claims.take(silent(1)), []);
    assert_eq!(
        claims.take(on(2, 2, &["/a"])).first(),
        Some(&stop(1, 1, "/a"))
    );
    claims.take(silent(1));
    assert!(!claims.has(&line(2, 2, "/a")));
    assert_eq!(claims.take(silent(3)), [start(2, 2, "/a")]);
}

/// What the domains are, said plainly: number, run and sockets of each that is on.
type World = BTreeMap<u8, Option<(u32, Vec<u8>)>>;

fn path(letter: u8) -> String {
    format!("/{}", char::from(b'a' + letter))
}

fn of_world(number: u8, is: &Option<(u32, Vec<u8>)>) -> WatchedDomain {
    let (run, letters) = is.clone().unzip();
    let paths: Vec<_> = letters.unwrap_or_default().into_iter().map(path).collect();
    let paths: Vec<_> = paths.iter().map(String::as_str).collect();
    domain(number, run, &paths)
}

fn lines_of(world: &World) -> BTreeSet<LineId> {
    let on = world
        .iter()
        .filter_map(|(number, is)| Some((*number, is.as_ref()?)));
    let on: Vec<_> = on.collect();
    let lines = on
        .iter()
        .flat_map(|(number, (run, letters))| letters.iter().map(|letter| (*number, *run, *letter)));
    let alone = |letter: u8| {
        let owners = on
            .iter()
            .filter(|(_, (_, letters))| letters.contains(&letter));
        owners.count() == 1
    };
    lines
        .filter(|(.., letter)| alone(*letter))
        .map(|(number, run, letter)| line(number, run, &path(letter)))
        .collect()
}

proptest! {
    #[test]
    fn lines_are_always_those_that_the_domains_name_alone(
        steps in prop::collection::vec(
            (0..4_u8, prop::option::of((0..3_u32, prop::collection::vec(0..4_u8, 0..3))), any::<bool>()),
            1..30,
        )
    ) {
        let (mut claims, mut world, mut lines) = (claims(), World::new(), BTreeSet::new());
        for (number, is, told) in steps {
            world.insert(number, is);
            // Some changes are not told one by one, but by the next snapshot.
            let notice = if told {
                let domains = world.iter().map(|(number, is)| of_world(*number, is));
                Notice::Snapshot(domains.collect())
            } else {
                Notice::Changed(of_world(number, &world[&number]))
            };
            for change in claims.take(notice) {
                match change {
                    Change::Stop(line) => { lines.remove(&line); }
                    Change::Start(line, _) => prop_assert!(lines.insert(line)),
                    Change::Contested(..) | Change::Unreadable(..) => {}
                }
            }
            prop_assert_eq!(&lines, &lines_of(&world));
            prop_assert!(lines.iter().all(|line| claims.has(line)));
        }
    }

    #[test]
    fn snapshot_alone_leads_to_the_same_lines(
        worlds in prop::collection::vec(
            prop::collection::btree_map(
                0..5_u8,
                prop::option::of((0..3_u32, prop::collection::vec(0..4_u8, 0..3))),
                0..5,
            ),
            1..8,
        )
    ) {
        let (mut claims, mut lines) = (claims(), BTreeSet::new());
        for world in worlds {
            let domains = world.iter().map(|(number, is)| of_world(*number, is));
            for change in claims.take(Notice::Snapshot(domains.collect())) {
                match change {
                    Change::Stop(line) => { lines.remove(&line); }
                    Change::Start(line, _) => prop_assert!(lines.insert(line)),
                    Change::Contested(..) | Change::Unreadable(..) => {}
                }
            }
            prop_assert_eq!(&lines, &lines_of(&world));
        }
    }
}
