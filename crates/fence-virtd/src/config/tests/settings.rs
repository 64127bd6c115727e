//! Keys, defaults, errors and warnings of whole configurations.

use std::net::SocketAddr;

use fence_proto::HashAlgorithm;

use super::super::{
    BackendSettings, CpgSettings, Form, ListenerSettings, MulticastSettings, NameMode, SerialMode,
    SerialSettings, TcpSettings,
};
use super::{clean, error, only, read, with_key, with_listener};

fn multicast(keys: &str) -> MulticastSettings {
    match only(clean(&with_listener("multicast", keys))).settings {
        ListenerSettings::Multicast(settings) => settings,
        other => panic!("{other:?}"),
    }
}

fn tcp(keys: &str) -> TcpSettings {
    match only(clean(&with_listener("tcp", keys))).settings {
        ListenerSettings::Tcp(settings) => settings,
        other => panic!("{other:?}"),
    }
}

fn uris(keys: &str) -> (Vec<String>, Vec<String>) {
    let text = format!(
        "fence_virtd {{ listener = \"tcp\"; backend = \"libvirt\"; }}\n\
         backends {{ libvirt {{ {keys} }} }}"
    );
    let (settings, notes) = read(&text, Form::Conf).unwrap();
    match settings.backend {
        BackendSettings::Libvirt(libvirt) => (libvirt.uris, notes),
        BackendSettings::Cpg(cpg) => panic!("{cpg:?}"),
    }
}

#[test]
fn defaults_are_those_of_the_original() {
    let settings = clean("fence_virtd { listener = \"multicast\"; backend = \"libvirt\"; }");
    assert!(!settings.daemon.foreground);
    assert!(!settings.daemon.wait_for_init);
    assert_eq!(settings.daemon.debug.to_string(), "0");
    assert!(!only(settings).access.is_restricted());
    let multicast = multicast("");
    assert_eq!(multicast.address.to_string(), "225.0.0.12");
    assert_eq!(multicast.port, 1229);
    assert_eq!(multicast.interface, None);
    assert!(multicast.answer_unknown);
    assert_eq!(multicast.authentication.hash, HashAlgorithm::Sha256);
    assert_eq!(multicast.authentication.auth, HashAlgorithm::Sha256);
    assert!(multicast.authentication.key.is_some());
    assert_eq!(tcp("").address.to_string(), "127.0.0.1:1229");
    let vsock = only(clean(&with_listener("vsock", ""))).settings;
    assert!(matches!(vsock, ListenerSettings::Vsock(vsock) if vsock.port == 1229));
    assert_eq!(uris("").0, ["qemu:///system"]);
}

// F16
#[test]
fn empty_sections_mean_defaults_and_crash_nothing() {
    for text in [
        "fence_virtd { listener = \"tcp\"; backend = \"libvirt\"; } listeners { } backends { }",
        "fence_virtd { listener = \"tcp\"; backend = \"libvirt\"; } listeners { tcp { } }\
         backends { libvirt { } cpg { } }",
    ] {
        clean(text);
    }
    let (settings, notes) = read(
        "fence_virtd { listener = \"tcp\"; backend = \"libvirt\"; } tcp { } groups { group { } }",
        Form::Conf,
    )
    .unwrap();
    assert!(only(settings).access.is_restricted());
    assert_eq!(notes.len(), 2, "{notes:?}");
    for text in ["", "fence_virtd { }", "groups { }", "listeners { }"] {
        assert!(error(text).contains("fence_virtd"), "{text}");
    }
}

#[test]
fn listener_and_backend_are_needed_and_known() {
    assert_eq!(
        error("listeners { }"),
        "there is no section 'fence_virtd', which names the listener and the backend"
    );
    assert_eq!(
        error(" fence_virtd { backend = \"libvirt\"; }"),
        "1:2: section 'fence_virtd' names no listener: set listener to multicast (or tcp, vsock, \
         serial)"
    );
    assert!(error("fence_virtd { listener = \"tcp\"; }").contains("names no backend"));
    assert_eq!(
        error("fence_virtd { listener = \"udp\"; backend = \"libvirt\"; }"),
        "1:26: 'udp' is not one of multicast, tcp, vsock, serial"
    );
    assert_eq!(
        error("fence_virtd { listener = \"tcp\"; backend = \"xen\"; }"),
        "1:43: 'xen' is not one of libvirt, cpg"
    );
}

#[test]
fn names_and_choices_are_taken_in_any_case() {
    let settings = clean(
        "FENCE_VIRTD { Listener = \"TCP\"; BACKEND = \"LibVirt\"; Foreground = \"Yes\"; }\n\
         Listeners { Tcp { PORT = \"7\"; HASH = \"SHA512\"; Family = \"IPv6\"; } }",
    );
    assert!(settings.daemon.foreground);
    let ListenerSettings::Tcp(tcp) = only(settings).settings else {
        panic!()
    };
    assert_eq!(tcp.address, SocketAddr::new("::1".parse().unwrap(), 7));
    assert_eq!(tcp.authentication.hash, HashAlgorithm::Sha512);
}

#[test]
fn daemon_keys_are_read() {
    let daemon = |keys: &str| {
        let text = format!("fence_virtd {{ listener = \"tcp\"; backend = \"libvirt\"; {keys} }}");
        read(&text, Form::Conf)
    };
    let (settings, notes) =
        daemon("foreground = \"1\"; wait_for_init = \"on\"; debug = \"99\"; module_path = \"/x\";")
            .unwrap();
    assert!(settings.daemon.foreground && settings.daemon.wait_for_init);
    assert_eq!(settings.daemon.debug.to_string(), "99");
    assert_eq!(settings.daemon.module_path.as_deref(), Some("/x"));
    assert!(notes[0].contains("'module_path' means nothing here"));
    let waits = |keys| daemon(keys).unwrap().0.daemon.wait_for_init;
    assert!(waits("wait_for_backend = \"1\";"));
    assert!(!waits("wait_for_backend = \"1\"; wait_for_init = \"0\";"));
    for (keys, allowed) in [
        ("foreground = \"2\";", "one of 1, 0, yes"),
        (
            "wait_for_backend = \"x\"; wait_for_init = \"1\";",
            "one of 1, 0, yes",
        ),
        ("debug = \"100\";", "a number from 0 to 99"),
        ("name_mode = \"id\";", "one of name, uuid"),
    ] {
        let message = daemon(keys).unwrap_err();
        assert!(
            message.starts_with("1:") && message.contains(allowed),
            "{message}"
        );
    }
}

/// Listener, its keys, the column of the error in line 2, a part of the message.
const WRONG_VALUES: &str = r#"
multicast | port = "0";                        | 32 | '0' is not a whole number from 1 to 65535
multicast | port = "70000";                    | 32 | '70000' is not a whole number from 1 to 65535
multicast | hash = "md5";                      | 32 | 'md5' is not one of none, sha1, sha256, sha512
multicast | auth = "é";                        | 32 | 'é' is not one of none, sha1, sha256, sha512
multicast | family = "auto";                   | 34 | 'auto' is not one of ipv4, ipv6
multicast | address = "10.0.0.1";              | 35 | '10.0.0.1' is not a multicast address
multicast | address = "::1";                   | 35 | '::1' is not a multicast address
multicast | address = "localhost";             | 35 | 'localhost' is not a multicast address
multicast | answer_unknown = "2";             | 42 | '2' is not one of 1, 0, yes
multicast | interface = " ";                   | 37 | ' ' is not the name of a network interface
tcp       | address = "225.0.0.12";            | 29 | '225.0.0.12' is not an address of this host
tcp       | address = "ff05::3:1";             | 29 | 'ff05::3:1' is not an address of this host
tcp       | address = "255.255.255.255";       | 29 | is not an address of this host
tcp       | address = "::1"; family = "ipv4";  | 29 | is not an ipv4 address: set family = "ipv6"
tcp       | port = "-1";                       | 26 | '-1' is not a whole number from 1 to 65535
vsock     | port = "4294967295";               | 28 | from 1 to 4294967294
vsock     | port = "0";                        | 28 | from 1 to 4294967294
serial    | mode = "tty";                      | 29 | 'tty' is not one of serial, vmchannel
serial    | path = "guests";                   | 29 | 'guests' is not an absolute path
serial    | uri = "a b";                       | 28 | 'a b' is not a libvirt URI
"#;

// L22
#[test]
fn wrong_listener_values_are_errors_with_their_place_and_what_is_allowed() {
    for case in WRONG_VALUES.trim().lines() {
        let fields: Vec<_> = case.split('|').map(str::trim).collect();
        let [listener, keys, column, message] = fields[..] else {
            panic!("{case}")
        };
        let found = error(&with_listener(listener, keys));
        assert!(
            found.starts_with(&format!("2:{column}: ")),
            "{keys}: {found}"
        );
        assert!(found.contains(message), "{keys}: {found}");
    }
}

#[test]
fn family_and_address_of_multicast_and_tcp_are_read() {
    assert_eq!(
        multicast("family = \"ipv6\";").address.to_string(),
        "ff05::3:1"
    );
    assert_eq!(
        multicast("address = \"ff02::5\";").address.to_string(),
        "ff02::5"
    );
    let settings = multicast("interface = \"virbr0\"; port = \"7\"; address = \"224.1.1.1\";");
    assert_eq!(settings.interface.as_deref(), Some("virbr0"));
    assert_eq!(settings.port, 7);
    assert!(!multicast("answer_unknown = \"No\";").answer_unknown);
    assert_eq!(tcp("family = \"ipv6\";").address.to_string(), "[::1]:1229");
    assert_eq!(
        tcp("address = \"0.0.0.0\";").address.to_string(),
        "0.0.0.0:1229"
    );
    assert_eq!(
        tcp("address = \"fd00::1\";").address.to_string(),
        "[fd00::1]:1229"
    );
}

#[test]
fn serial_needs_no_key_and_reads_its_keys() {
    let text = with_listener(
        "serial",
        "mode = \"VMchannel\"; path = \"/run/guests\"; uri = \"qemu:///session\";",
    );
    assert!(with_key(&text, None).is_ok_and(|notes| notes.is_empty()));
    let ListenerSettings::Serial(serial) = only(clean(&text)).settings else {
        panic!()
    };
    assert_eq!(
        serial,
        SerialSettings {
            uri: Some("qemu:///session".to_owned()),
            path: Some("/run/guests".into()),
            mode: SerialMode::Vmchannel,
        }
    );
}

#[test]
fn uris_come_in_the_order_of_their_numbers_each_once() {
    let (found, notes) = uris("uri10 = \"d\"; uri2 = \"c\"; uri = \"a\"; uri1 = \"b\";");
    assert_eq!(found, ["a", "b", "c", "d"]);
    assert!(notes.is_empty(), "{notes:?}");
    assert_eq!(uris("uri3 = \"x\";").0, ["x"]);
    let (found, notes) = uris("uri = \"a\"; uri1 = \"a\";");
    assert_eq!(found, ["a"]);
    assert!(notes[0].contains("same URI"), "{notes:?}");
    let (_, notes) = uris("uri0 = \"a\";");
    assert!(notes[0].contains("unknown key 'uri0'"), "{notes:?}");
}

// L41
#[test]
fn a_repeated_uri_warns_that_only_the_last_is_used() {
    let (found, notes) = uris("uri = \"a\";\nuri = \"b\";");
    assert_eq!(found, ["b"]);
    assert_eq!(
        notes,
        ["3:1: 'uri' replaces the value given in line 2; number further ones: uri1, uri2, …"]
    );
}

// L41
#[test]
fn duplicates_anywhere_warn_with_both_lines() {
    let (settings, notes) = read(
        "fence_virtd { backend = \"cpg\"; listener = \"tcp\";\nbackend = \"libvirt\"; }\n\
         listeners { tcp { port = \"1\"; } }\nlisteners { tcp { hash = \"sha1\"; }\n\
         tcp { port = \"2\"; } }",
        Form::Conf,
    )
    .unwrap();
    let ListenerSettings::Tcp(tcp) = only(settings).settings else {
        panic!()
    };
    assert_eq!(tcp.address.port(), 2);
    assert_eq!(tcp.authentication.hash, HashAlgorithm::Sha256);
    assert_eq!(
        notes,
        [
            "2:1: 'backend' replaces the value given in line 1",
            "4:1: section 'listeners' replaces all of the one in line 3: join the two",
            "5:1: section 'tcp' replaces all of the one in line 4: join the two",
        ]
    );
}

#[test]
fn cpg_prefers_its_own_name_mode() {
    let cpg = |general: &str, own: &str| {
        let text = format!(
            "fence_virtd {{ listener = \"tcp\"; backend = \"cpg\"; {general} }}\n\
             backends {{ cpg {{ uri1 = \"x\"; {own} }} }}"
        );
        let (settings, notes) = read(&text, Form::Conf).unwrap();
        match settings.backend {
            BackendSettings::Cpg(CpgSettings {
                uris, name_mode, ..
            }) => {
                assert_eq!(uris, ["x"]);
                (name_mode, notes.len())
            }
            BackendSettings::Libvirt(libvirt) => panic!("{libvirt:?}"),
        }
    };
    let (name, uuid) = ("name_mode = \"name\";", "name_mode = \"UUID\";");
    assert_eq!(cpg("", ""), (NameMode::Name, 0));
    assert_eq!(cpg(uuid, ""), (NameMode::Uuid, 0));
    assert_eq!(cpg(name, uuid), (NameMode::Uuid, 1));
    assert_eq!(cpg(uuid, uuid), (NameMode::Uuid, 0));
}

#[test]
fn sections_that_are_not_chosen_are_checked_for_names_only() {
    let broken = format!("{}backends {{ cpg {{ = }} }}", with_listener("tcp", ""));
    assert!(error(&broken).contains("expected the name of a key or section"));
    let (_, notes) = read(
        "fence_virtd { listener = \"tcp\"; backend = \"libvirt\"; }\n\
         listeners { multicast { port = \"x\"; prot = \"1\"; } }\n\
         backends { cpg { uri = \"a b\"; nmae_mode = \"x\"; } } backend { }",
        Form::Conf,
    )
    .unwrap();
    assert_eq!(
        notes,
        [
            "2:37: unknown key 'prot' in 'multicast' is ignored; did you mean 'port'?",
            "3:31: unknown key 'nmae_mode' in 'cpg' is ignored; did you mean 'name_mode'?",
            "3:52: unknown section 'backend' at the top is ignored; did you mean 'backends'?",
        ]
    );
}

#[test]
fn a_title_is_noted_where_it_means_nothing() {
    let (_, notes) = read(
        "fence_virtd = \"x\" { listener = \"tcp\"; backend = \"libvirt\"; }",
        Form::Conf,
    )
    .unwrap();
    assert_eq!(notes, ["1:15: 'x' means nothing here"]);
}

#[test]
fn line_breaks_in_values_are_refused() {
    let message = error(&with_listener("tcp", "key_file = \"/a\nb\";"));
    assert!(message.starts_with("2:30: "), "{message}");
    assert!(
        message.contains("is its closing quote missing?"),
        "{message}"
    );
}
