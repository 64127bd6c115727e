//! What is read, and what hostile XML costs.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::*;

fn domain(devices: &str) -> String {
    format!("<domain type='kvm' id='7'><name>vm</name><devices>{devices}</devices></domain>")
}

fn serial(path: &str) -> String {
    format!(
        "<serial type='unix'><source mode='bind' path='{path}'/><target type='isa-serial' port='1'/></serial>"
    )
}

#[test]
fn sockets_that_the_hypervisor_listens_on_are_found() {
    let xml = domain(
        "<serial type='pty'><source path='/dev/pts/3'/></serial>\
         <serial type='unix'><source mode='bind' path='/run/vm.serial'/><target port='1'/></serial>\
         <serial type='unix'><source mode='connect' path='/run/other'/></serial>\
         <console type='unix'><source mode='bind' path='/run/vm.console'/></console>\
         <channel type='unix'><source mode='bind' path='/run/vm.fwd'/>\
         <target type='guestfwd' address='10.0.2.179' port='1229'/></channel>\
         <vsock model='virtio'><cid auto='yes' address='42'/></vsock>",
    );
    let devices = Devices::of(&xml).unwrap();
    assert_eq!(devices.serial, [PathBuf::from("/run/vm.serial")]);
    assert_eq!(devices.guestfwd, [PathBuf::from("/run/vm.fwd")]);
    assert_eq!(
        devices.others,
        BTreeSet::from([PathBuf::from("/run/vm.console")])
    );
    assert_eq!(devices.sockets().count(), 3);
    assert_eq!(devices.cid, Some(42));
    assert_eq!(cid_of(&xml), Ok(Some(42)));
}

#[test]
fn virtio_channels_are_left_to_their_owners() {
    let xml = domain(
        "<channel type='unix'><source mode='bind' path='/run/agent'/>\
         <target type='virtio' name='org.qemu.guest_agent.0' state='connected'/></channel>",
    );
    let devices = Devices::of(&xml).unwrap();
    assert!(devices.serial.is_empty() && devices.guestfwd.is_empty());
    assert_eq!(
        devices.others,
        BTreeSet::from([PathBuf::from("/run/agent")])
    );
}

#[test]
fn elements_of_other_namespaces_and_places_do_not_count() {
    let xml = format!(
        "<domain xmlns:x='urn:x'><metadata><devices>{0}</devices></metadata>\
         <x:devices>{0}</x:devices><devices><x:serial type='unix'><source mode='bind' path='/a'/></x:serial>\
         <hub>{0}</hub></devices></domain>",
        serial("/run/fake")
    );
    assert_eq!(Devices::of(&xml), Ok(Devices::default()));
}

#[test]
fn paths_that_no_socket_can_have_are_left_out() {
    let long = format!("/{}", "a".repeat(MAX_PATH));
    let xml = domain(&[serial("relative"), serial(""), serial(&long), serial("/ok")].concat());
    assert_eq!(Devices::of(&xml).unwrap().serial, [PathBuf::from("/ok")]);
}

#[test]
fn one_path_named_twice_is_one_socket() {
    let xml = domain(&[serial("/a"), serial("/a"), serial("/b")].concat());
    assert_eq!(Devices::of(&xml).unwrap().serial.len(), 2);
}

#[test]
fn cids_that_are_nobodys_are_none() {
    for address in ["0", "1", "2", "4294967295", "4294967296", "-3", "x", ""] {
        let xml = domain(&format!("<vsock><cid address='{address}'/></vsock>"));
        assert_eq!(cid_of(&xml), Ok(None), "{address}");
    }
    assert_eq!(
        cid_of(&domain("<vsock><cid auto='yes'/></vsock>")),
        Ok(None)
    );
}

fn why(xml: &str) -> BadXml {
    Devices::of(xml).unwrap_err().why
}

#[test]
fn hostile_xml_is_an_error_and_bounded() {
    assert_eq!(why(&" ".repeat(MAX_XML + 1)), BadXml::TooLong);
    let many: String = (0..=MAX_SOCKETS)
        .map(|n| serial(&format!("/{n}")))
        .collect();
    assert_eq!(why(&domain(&many)), BadXml::TooManySockets);
    assert_eq!(why("<network/>"), BadXml::NotADomain);
    let laughs =
        "<!DOCTYPE domain [<!ENTITY a 'ha'><!ENTITY b '&a;&a;&a;&a;'>]><domain>&b;</domain>";
    for xml in ["", "<domain>", "<domain/><domain/>", "\u{0}", laughs] {
        assert!(matches!(why(xml), BadXml::Malformed(_)), "{xml}");
    }
    let wide = domain(&"<a/>".repeat(300_000));
    assert!(matches!(why(&wide), BadXml::Malformed(_)));
}

/// Processor time of this thread for reading it.
fn cost(xml: &str) -> (Result<Devices, Unreadable>, Duration) {
    let used = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap());
    let before = used();
    let read = Devices::of(xml);
    (read, used().saturating_sub(before))
}

/// Elements that cost the parser quadratic time: namespaces that each child takes over, a child that adds one to many,
/// attributes that are compared with each other.
fn bombs() -> [String; 3] {
    let attributes = |name: &str, count: usize| {
        (0..count)
            .map(|n| format!(" {name}{n}='v'"))
            .collect::<String>()
    };
    let namespaces = attributes("xmlns:a", 2000);
    [
        format!("<x{namespaces}>{}</x>", "<c xmlns:z='v'/>".repeat(8000)),
        format!(
            "<x{namespaces}>{}</x>",
            format!("<c{namespaces}/>").repeat(20)
        ),
        format!("<x{}/>", attributes("a", 60_000)),
    ]
}

#[test]
fn metadata_of_any_shape_cost_nothing_and_hide_nothing() {
    let socket = serial("/run/vm");
    let tricks = [
        "<![CDATA[</metadata>]]>".to_owned(),
        "<!-- </metadata> --><metadata><devices/></metadata>".to_owned(),
        "<a/>".repeat(2 * MAX_XML / 4),
    ];
    for inside in bombs().into_iter().chain(tricks) {
        for tag in ["metadata", "metadata a='b'", "metadata\n xmlns:q='r'"] {
            let xml = format!(
                "<domain><name>vm</name><{tag}>{inside}</metadata><devices>\
                 <disk><driver><metadata_cache><max_size>1</max_size></metadata_cache></driver></disk>\
                 {socket}<vsock><cid address='42'/></vsock></devices></domain>"
            );
            let (read, cost) = cost(&xml);
            let devices = read.unwrap();
            assert_eq!(devices.serial, [PathBuf::from("/run/vm")]);
            assert_eq!(devices.cid, Some(42));
            assert!(cost < Duration::from_secs(2), "{tag}: {cost:?}");
        }
    }
    for empty in ["<metadata/>", "<metadata></metadata>", "<metadata_cache/>"] {
        let xml = format!("<domain>{empty}<devices>{socket}</devices></domain>");
        assert_eq!(Devices::of(&xml).unwrap().serial.len(), 1);
    }
}

#[test]
fn xml_that_would_take_for_ever_is_refused_at_once_wherever_it_is() {
    for bomb in bombs() {
        let (read, cost) = cost(&domain(&bomb));
        assert_eq!(read.unwrap_err().why, BadXml::TooComplex);
        assert!(cost < Duration::from_secs(2), "{cost:?}");
    }
    // The longest that is not refused.
    let attributes: String = (0..256).map(|n| format!(" a{n}='v'")).collect();
    let element = format!("<x{attributes}/>");
    let xml = domain(&element.repeat(MAX_XML / element.len() - 1));
    let (read, cost) = cost(&xml);
    assert!(read.is_ok() && cost < Duration::from_secs(8), "{cost:?}");
}

#[test]
fn sockets_are_claimed_even_if_the_rest_cannot_be_read() {
    let many: String = (0..=MAX_SOCKETS)
        .map(|n| serial(&format!("/{n}")))
        .collect();
    let paths = serial("/a&amp;&quot;b&apos;") + &serial("relative") + "<source path=\"/c\"/>";
    for spoilt in [many, "<a/>".repeat(300_000), "<".to_owned()] {
        let found = Devices::of(&domain(&(spoilt + &paths))).unwrap_err();
        for path in ["/a&\"b'", "/c"] {
            assert!(found.sockets.contains(&PathBuf::from(path)), "{path}");
        }
        assert!(!found.sockets.contains(&PathBuf::from("relative")));
    }
    // Devices that are not served are many without being an error.
    let consoles: String = (0..1000)
        .map(|n| serial(&format!("/{n}")).replace("serial", "console"))
        .collect();
    assert_eq!(Devices::of(&domain(&consoles)).unwrap().others.len(), 1000);
}

#[test]
fn deeply_nested_xml_does_not_exhaust_the_stack() {
    let depth = 100_000;
    let xml = format!(
        "<domain>{}{}</domain>",
        "<a>".repeat(depth),
        "</a>".repeat(depth)
    );
    // On the smallest stack that it is read on.
    let read = std::thread::Builder::new()
        .stack_size(256 * 1024)
        .spawn(move || Devices::of(&xml).is_ok())
        .unwrap();
    let _ = read.join().unwrap();
}
