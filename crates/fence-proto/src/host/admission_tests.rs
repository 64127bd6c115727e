//! Bounds, shares, and who gives way.

use proptest::prelude::*;

use super::*;

#[test]
fn oldest_pays_when_every_source_has_one() {
    let (mut admission, party) = alone(Limits {
        per_source: 3,
        total: 3,
    });
    let first = admission.admit(party, source(9)).unwrap().id;
    admission.admit(party, source(1)).unwrap();
    admission.admit(party, source(5)).unwrap();
    assert_eq!(
        admission.admit(party, source(7)).unwrap().evicted,
        Some(first)
    );
}

#[test]
fn addresses_of_one_ipv6_subnet_are_one_source() {
    let (mut admission, party) = alone(Limits {
        per_source: 1,
        total: 3,
    });
    let v6 = |text: &str| Source::Ip(text.parse().unwrap());
    let first = admission.admit(party, v6("fd00::1")).unwrap().id;
    assert_eq!(
        admission.admit(party, v6("fd00::2")).unwrap().evicted,
        Some(first)
    );
    assert_eq!(
        admission.admit(party, v6("fd00:0:0:1::1")).unwrap().evicted,
        None
    );
}

fn source(last: u8) -> Source {
    Source::Ip([10, 0, 0, last].into())
}

fn alone(limits: Limits) -> (Admission, Party) {
    let mut admission = Admission::new(limits);
    let party = admission.join();
    (admission, party)
}

fn admission() -> (Admission, Party) {
    alone(Limits {
        per_source: 3,
        total: 5,
    })
}

fn fill(admission: &mut Admission, party: Party, proven: bool) -> usize {
    let sources = (0..=255).map(source);
    let admitted = sources.map_while(|source| {
        let admitted = admission.admit(party, source).ok()?;
        if proven {
            admission.proven(admitted.id);
        }
        admitted.evicted.is_none().then_some(())
    });
    admitted.count()
}

#[test]
fn holders_of_one_key_leave_the_other_listeners_their_shares() {
    for proven in [true, false] {
        let limits = Limits {
            per_source: 100,
            total: 90,
        };
        let (mut admission, blue) = alone(limits);
        let (green, serial) = (admission.join(), admission.join());
        // A share is 22.
        assert_eq!(fill(&mut admission, blue, proven), 90 - 2 * 22);
        assert_eq!(fill(&mut admission, green, true), 22);
        assert_eq!(fill(&mut admission, serial, true), 22);
        assert_eq!(admission.len(), 90);
        let more = admission.admit(blue, source(0)).is_ok();
        // What gives way is its own.
        assert_eq!(more, !proven);
    }
}

#[test]
fn listener_that_is_alone_has_all_places_and_one_that_comes_later_gets_its_share_as_they_are_free()
{
    let (mut admission, blue) = admission();
    let ids: Vec<_> = (0..5)
        .map(|last| admission.admit(blue, source(last)).unwrap().id)
        .collect();
    for id in &ids {
        admission.proven(*id);
    }
    let green = admission.join();
    assert_eq!(admission.admit(green, source(9)), Err(Reason::TotalLimit));
    admission.release(ids[0]);
    assert_eq!(admission.admit(blue, source(9)), Err(Reason::TotalLimit));
    assert_eq!(admission.admit(green, source(9)).unwrap().evicted, None);
    // Its share is 1, and it is back at what was its own when the other one has left.
    admission.leave(green);
    admission.release(ids[1]);
    assert_eq!(admission.admit(blue, source(9)).unwrap().evicted, None);
}

#[test]
fn unproven_sessions_of_one_listener_give_way_to_the_share_of_another() {
    let (mut admission, blue) = admission();
    assert_eq!(fill(&mut admission, blue, false), 5);
    let green = admission.join();
    assert!(admission.admit(green, source(9)).unwrap().evicted.is_some());
    assert_eq!(admission.len(), 5);
}

#[test]
fn session_within_a_share_gives_way_to_its_own_listener_only() {
    let (mut admission, blue) = alone(Limits {
        per_source: 9,
        total: 9,
    });
    // The shares are of 2 places, but there is only one that blue does not hold.
    assert_eq!(fill(&mut admission, blue, true), 9);
    let (green, serial) = (admission.join(), admission.join());
    let first = *admission.sessions.keys().min().unwrap();
    admission.release(first);
    let waiting = admission.admit(green, source(1)).unwrap();
    assert_eq!(waiting.evicted, None);
    assert_eq!(admission.admit(serial, source(2)), Err(Reason::TotalLimit));
    let newer = admission.admit(green, source(3)).unwrap();
    assert_eq!(newer.evicted, Some(waiting.id));
}

#[derive(Debug, Clone)]
enum Event {
    Join,
    Leave(prop::sample::Index),
    Admit(prop::sample::Index, u8),
    Prove(prop::sample::Index),
    Release(prop::sample::Index),
}

fn event() -> impl Strategy<Value = Event> {
    let any = any::<prop::sample::Index>;
    prop_oneof![
        1 => Just(Event::Join),
        1 => any().prop_map(Event::Leave),
        8 => (any(), 0..6_u8).prop_map(|(party, last)| Event::Admit(party, last)),
        3 => any().prop_map(Event::Prove),
        2 => any().prop_map(Event::Release),
    ]
}

/// Unproven sessions that may give way to one more of `party`.
fn may_give_way(admission: &Admission, party: Party) -> Vec<SessionId> {
    let needy = admission.below_share(party);
    let sessions = admission.sessions.iter();
    let giving = sessions.filter(|(_, ((of, _), proven))| {
        !proven && (*of == party || needy && admission.above_share(*of))
    });
    giving.map(|(id, _)| *id).collect()
}

proptest! {
    #[test]
    fn nobody_gives_way_but_the_newcomers_own_and_who_has_more_than_a_share(
        events in prop::collection::vec(event(), 0..200),
    ) {
        let (mut admission, first) = alone(Limits { per_source: 4, total: 9 });
        let mut parties = vec![first];
        for event in events {
            let mut ids: Vec<_> = admission.sessions.keys().copied().collect();
            ids.sort();
            match event {
                Event::Join => parties.push(admission.join()),
                Event::Leave(index) if parties.len() > 1 => {
                    admission.leave(parties.swap_remove(index.index(parties.len())));
                }
                Event::Admit(index, last) => {
                    let party = *index.get(&parties);
                    let givers = may_give_way(&admission, party);
                    match admission.admit(party, source(last)) {
                        Ok(Admitted { evicted, .. }) => {
                            prop_assert!(evicted.is_none_or(|evicted| givers.contains(&evicted)));
                        }
                        Err(reason) => {
                            prop_assert!(reason == Reason::SourceLimit || givers.is_empty());
                        }
                    }
                    prop_assert!(admission.len() <= 9);
                }
                Event::Prove(index) if !ids.is_empty() => admission.proven(*index.get(&ids)),
                Event::Release(index) if !ids.is_empty() => admission.release(*index.get(&ids)),
                Event::Leave(_) | Event::Prove(_) | Event::Release(_) => {}
            }
        }
    }
}

#[test]
fn oldest_unproven_session_of_a_full_source_gives_way() {
    let (mut admission, party) = admission();
    let first = admission.admit(party, source(1)).unwrap().id;
    let second = admission.admit(party, source(1)).unwrap().id;
    admission.admit(party, source(1)).unwrap();
    admission.proven(first);
    let fourth = admission.admit(party, source(1)).unwrap();
    assert_eq!(fourth.evicted, Some(second));
    assert_eq!(admission.len(), 3);
}

#[test]
fn source_with_most_unproven_sessions_pays_when_all_is_full() {
    let (mut admission, party) = admission();
    let honest = admission.admit(party, source(1)).unwrap().id;
    let stalled = admission.admit(party, source(2)).unwrap().id;
    admission.admit(party, source(2)).unwrap();
    admission.admit(party, source(2)).unwrap();
    admission.admit(party, source(3)).unwrap();
    assert_eq!(
        admission.admit(party, source(4)).unwrap().evicted,
        Some(stalled)
    );
    assert_ne!(honest, stalled);
    assert_eq!(admission.len(), 5);
}

#[test]
fn proven_sessions_are_never_evicted() {
    let (mut admission, party) = admission();
    for _ in 0..3 {
        let id = admission.admit(party, source(1)).unwrap().id;
        admission.proven(id);
    }
    assert_eq!(admission.admit(party, source(1)), Err(Reason::SourceLimit));
    for last in [2, 3] {
        let id = admission.admit(party, source(last)).unwrap().id;
        admission.proven(id);
    }
    assert_eq!(admission.admit(party, source(4)), Err(Reason::TotalLimit));
}

#[test]
fn released_places_are_free_and_nothing_is_left_behind() {
    let (mut admission, party) = admission();
    for last in 0..=255 {
        let id = admission.admit(party, source(last)).unwrap().id;
        if last % 2 == 0 {
            admission.proven(id);
            admission.proven(id);
        }
        admission.release(id);
        admission.release(id);
    }
    assert!(admission.is_empty());
    assert!(admission.sources.is_empty());
    admission.leave(party);
    assert!(admission.parties.is_empty());
}
