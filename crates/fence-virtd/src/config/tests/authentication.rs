//! Keys and hashes of whole configurations.

use fence_proto::HashAlgorithm;

use super::super::ListenerSettings;
use super::{clean, only, with_key, with_listener};

// L21
#[test]
fn auth_sets_auth_and_leaves_hash_alone() {
    for listener in ["multicast", "tcp", "vsock"] {
        let text = with_listener(listener, "auth = \"sha512\"; hash = \"sha1\";");
        let authentication = match only(clean(&text)).settings {
            ListenerSettings::Multicast(settings) => settings.authentication,
            ListenerSettings::Tcp(settings) => settings.authentication,
            ListenerSettings::Vsock(settings) => settings.authentication,
            ListenerSettings::Serial(settings) => panic!("{settings:?}"),
        };
        assert_eq!(authentication.hash, HashAlgorithm::Sha1);
        assert_eq!(authentication.auth, HashAlgorithm::Sha512);
    }
    let text = with_listener("tcp", "auth = \"sha1\";");
    let ListenerSettings::Tcp(tcp) = only(clean(&text)).settings else {
        panic!()
    };
    assert_eq!(tcp.authentication.hash, HashAlgorithm::Sha256);
}

// L24
#[test]
fn without_a_key_there_are_no_settings_unless_hash_and_auth_are_none() {
    let missing = |keys: &str| with_key(&with_listener("tcp", keys), None);
    for keys in [
        "",
        "hash = \"none\";",
        "auth = \"none\";",
        "key_file = \"/no/key\";",
    ] {
        let message = missing(keys).unwrap_err();
        assert!(message.starts_with("2:"), "{message}");
        assert!(message.contains("there is no key file"), "{message}");
    }
    let notes = missing("hash = \"none\"; auth = \"none\";").unwrap();
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].contains("whoever reaches the listener"));
    let notes = missing("hash = \"none\"; auth = \"none\"; key_file = \"/no/key\";").unwrap();
    assert!(
        notes
            .iter()
            .any(|note| note.contains("so it is not needed")),
        "{notes:?}"
    );
}

#[test]
fn looking_for_domains_on_anybodys_word_warns() {
    let notes = |keys: &str| {
        let keys = format!("answer_unknown = \"no\"; {keys}");
        with_key(&with_listener("multicast", &keys), Some(&[7; 4096])).unwrap()
    };
    assert!(notes("").is_empty());
    let notes = notes("hash = \"none\";");
    assert!(notes[0].contains("has libvirt asked"), "{notes:?}");
}

// L25
#[test]
fn an_empty_key_is_no_key() {
    let message = with_key(&with_listener("tcp", ""), Some(b"")).unwrap_err();
    assert!(message.contains("is empty"), "{message}");
}

// L33
#[test]
fn keys_open_to_length_extension_warn() {
    let notes = |keys: &str, length| {
        let key = vec![1; length];
        with_key(&with_listener("tcp", keys), Some(&key)).unwrap()
    };
    for (keys, length, open) in [
        ("", 32, true),
        ("", 55, true),
        ("", 56, false),
        ("", 4096, false),
        // The forged frame has the hash of auth, and sha1 is below the least that is taken.
        ("auth = \"sha1\";", 32, false),
        ("auth = \"sha1\"; hash = \"sha1\";", 32, true),
        ("auth = \"sha512\";", 32, true),
        ("auth = \"sha512\";", 50, false),
        ("auth = \"sha1\"; hash = \"none\";", 32, true),
    ] {
        let notes = notes(keys, length);
        let warned = notes.iter().any(|note| note.contains("signed request"));
        assert_eq!(warned, open, "{keys} {length}: {notes:?}");
        assert!(!open || notes[0].contains("4096 bytes"), "{notes:?}");
    }
    assert!(notes("", 15)[0].contains("short enough to be guessed"));
    assert!(notes("auth = \"none\";", 4096)[0].contains("can repeat it"));
}

#[test]
fn groups_without_proof_of_addresses_warn() {
    let groups = "groups { group { uuid = \"vm\"; ip = \"10.0.0.1\"; } }";
    let notes = |listener, auth: &str| {
        let keys = format!("auth = \"{auth}\";");
        with_key(&(with_listener(listener, &keys) + groups), Some(&[7; 4096])).unwrap()
    };
    let warns = |notes: Vec<String>| notes.iter().any(|note| note.contains("nothing proves the"));
    assert!(warns(notes("multicast", "none")));
    assert!(!warns(notes("multicast", "sha256")));
    assert!(!warns(notes("tcp", "none")));
}
