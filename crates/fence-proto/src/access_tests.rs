//! Who may fence whom.

use super::*;

const UUID_A: &str = "44179d3f-6c63-474f-a212-20c8b4b25b16";
const UUID_B: &str = "1ce02c4b-dfa1-42cb-b5b1-f0b1091ece60";

fn ip(text: &str) -> Source {
    Source::Ip(text.parse().unwrap())
}

fn domain(name: &str, uuid: &str) -> DomainIdentity {
    DomainIdentity {
        name: name.to_owned(),
        uuid: uuid.parse().unwrap(),
    }
}

fn asks(access: &Access, source: Source) -> Requester {
    Requester::new(source, Arc::new(access.clone()))
}

fn access() -> Access {
    Access::groups(vec![Group {
        name: None,
        members: vec![GroupMember::parse("node1"), GroupMember::parse(UUID_B)],
        sources: vec![
            GroupSource::Ip("192.168.1.1".parse().unwrap()),
            GroupSource::Cid(5),
        ],
    }])
}

#[test]
fn no_groups_allow_everything() {
    let access = Access::unrestricted();
    assert!(asks(&access, ip("10.0.0.1")).may_fence(&domain("vm", UUID_A)));
    assert!(asks(&access, ip("10.0.0.1")).is_known());
    assert!(!access.is_restricted());
}

#[test]
fn an_empty_list_of_groups_allows_nothing() {
    let nobody = asks(&Access::groups(vec![]), ip("10.0.0.1"));
    assert!(!nobody.may_fence(&domain("vm", UUID_A)));
}

#[test]
fn name_and_uuid_are_one_subject() {
    let access = access();
    // Listed by name, listed by UUID: both are found from the full identity.
    assert!(asks(&access, ip("192.168.1.1")).may_fence(&domain("NODE1", UUID_A)));
    assert!(asks(&access, ip("192.168.1.1")).may_fence(&domain("other", UUID_B)));
    assert!(!asks(&access, ip("192.168.1.1")).may_fence(&domain("other", UUID_A)));
}

#[test]
fn strangers_are_denied() {
    let access = access();
    assert!(!asks(&access, ip("192.168.1.2")).may_fence(&domain("node1", UUID_A)));
    assert!(!asks(&access, ip("192.168.1.2")).is_known());
    assert!(asks(&access, Source::Cid(5)).is_known());
}

#[test]
fn grant_is_made_for_what_the_requesters_own_rules_allow() {
    let of = |access: Access| Requester::new(Source::Cid(5), Arc::new(access));
    let node = || domain("node1", UUID_A);
    assert_eq!(of(access()).check(node()).unwrap().domain(), &node());
    assert!(of(Access::unrestricted()).check(node()).is_ok());
    // The same source at a listener with other groups.
    assert!(of(Access::groups(vec![])).check(node()).is_err());
    let stranger = Requester::new(Source::Cid(6), Arc::new(access()));
    assert!(stranger.check(node()).is_err());
}

#[test]
fn listed_text_is_recognised_for_its_source_only() {
    let access = access();
    assert!(asks(&access, ip("192.168.1.1")).lists("Node1"));
    assert!(asks(&access, ip("192.168.1.1")).lists(&UUID_B.to_uppercase()));
    assert!(!asks(&access, ip("192.168.1.1")).lists(UUID_A));
    assert!(!asks(&access, ip("192.168.1.2")).lists("node1"));
    assert!(asks(&Access::unrestricted(), ip("192.168.1.2")).lists("anything"));
}

#[test]
fn serial_source_must_itself_be_a_member() {
    let access = access();
    let member: Uuid = UUID_B.parse().unwrap();
    let stranger: Uuid = UUID_A.parse().unwrap();
    assert!(asks(&access, Source::Domain(member)).may_fence(&domain("node1", UUID_A)));
    assert!(!asks(&access, Source::Domain(stranger)).may_fence(&domain("node1", UUID_A)));
}

#[test]
fn sender_covers_an_address_with_no_more_rights() {
    let both = access();
    assert!(both.covers(ip("192.168.1.1"), ip("192.168.1.1")));
    assert!(both.covers(ip("192.168.1.1"), ip("192.168.1.2")));
    assert!(!both.covers(ip("192.168.1.2"), ip("192.168.1.1")));
    assert!(Access::unrestricted().covers(ip("10.0.0.1"), ip("10.0.0.2")));
}

#[test]
fn ipv4_mapped_source_counts_as_ipv4() {
    let mapped = asks(&access(), ip("::ffff:192.168.1.1"));
    assert!(mapped.may_fence(&domain("node1", UUID_A)));
}

/// "vm" may be fenced by the domain that is called "Manager", and by one with a UUID.
fn by_guests() -> Access {
    Access::groups(vec![Group {
        name: None,
        members: vec![GroupMember::parse("vm")],
        sources: ["Manager", UUID_B]
            .map(|guest| GroupSource::Guest(GroupMember::parse(guest)))
            .to_vec(),
    }])
}

#[test]
fn source_is_admitted_as_the_domain_that_it_is() {
    let of = |name: &str, uuid: &str| {
        let guest = domain(name, uuid);
        asks(&by_guests(), Source::Cid(7)).with_guest(guest)
    };
    for guest in [of("Manager", UUID_A), of("other", UUID_B)] {
        assert!(guest.is_known());
        assert!(guest.may_fence(&domain("vm", UUID_A)));
        assert!(guest.may_fence(&domain("VM", UUID_A)));
        assert!(guest.lists("VM"));
        assert!(!guest.may_fence(&domain("manager", UUID_A)));
    }
    assert!(!of("vm", UUID_A).is_known());
    // libvirt lets it stand beside the other one.
    for other in ["manager", "MANAGER", "Manager "] {
        assert!(!of(other, UUID_A).is_known(), "{other}");
    }
    // Nobody knows which domain it is: then it is none.
    assert!(!asks(&by_guests(), Source::Cid(7)).is_known());
}

#[test]
fn serial_source_is_admitted_by_its_uuid_too() {
    let own = Source::Domain(UUID_B.parse().unwrap());
    assert!(asks(&by_guests(), own).may_fence(&domain("vm", UUID_A)));
    let other = Source::Domain(UUID_A.parse().unwrap());
    assert!(!asks(&by_guests(), other).is_known());
}

#[test]
fn guests_are_worth_finding_out_only_where_a_group_names_one() {
    assert!(by_guests().names_guests());
    assert!(!access().names_guests());
    assert!(!Access::unrestricted().names_guests());
}
