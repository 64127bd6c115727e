//! From a file's name to settings, warnings and one-line errors.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::super::{
    ConfigError, DEFAULT_KEY_FILE, Form, ListenerSettings, MAX_BYTES, SyntaxError, load,
    parse_bytes,
};
use crate::scratch::Scratch;

fn write(scratch: &Scratch, name: &str, bytes: &[u8], mode: u32) -> std::path::PathBuf {
    let path = scratch.path(name);
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

#[test]
fn the_ending_of_the_name_chooses_the_grammar() {
    for (name, form) in [
        ("/etc/fence_virt.conf", Form::Conf),
        ("x.toml", Form::Toml),
        ("x.TOML", Form::Toml),
        ("toml", Form::Conf),
        ("x.toml.bak", Form::Conf),
    ] {
        assert_eq!(Form::of(Path::new(name)), form, "{name}");
    }
}

#[test]
fn both_forms_give_the_same_settings_and_warnings() {
    let scratch = Scratch::new();
    let key = write(&scratch, "key", &[7; 4096], 0o640);
    let conf = format!(
        "fence_virtd {{ listener = \"tcp\"; backend = \"libvirt\"; foreground = \"1\"; }}\n\
         listeners {{ tcp {{ key_file = \"{0}\"; port = \"7\";\nprot = \"8\"; }} }}\n\
         backends {{ libvirt {{ uri = \"a\"; uri1 = \"b\"; }} }}\n\
         groups {{ group {{ name = \"g\"; uuid = \"x\"; uuid = \"y\"; ip = \"10.0.0.1\"; }} }}\n",
        key.display()
    );
    let toml = format!(
        "fence_virtd = {{ listener = \"tcp\", backend = \"libvirt\", foreground = true }}\n\
         listeners.tcp = {{ key_file = \"{0}\", port = 7,\nprot = 8 }}\n\
         [backends]\nlibvirt = {{ uri = \"a\", uri1 = \"b\" }}\n\
         [[groups.group]]\nname = \"g\"\nuuid = [\"x\", \"y\"]\nip = \"10.0.0.1\"\n",
        key.display()
    );
    let conf = load(&write(&scratch, "a.conf", conf.as_bytes(), 0o644)).unwrap();
    let toml = load(&write(&scratch, "a.toml", toml.as_bytes(), 0o644)).unwrap();
    assert_eq!(
        format!("{:?}", conf.settings),
        format!("{:?}", toml.settings)
    );
    let warning = "a.conf:3:1: unknown key 'prot' in 'tcp' is ignored; did you mean 'port'?";
    let found: Vec<_> = conf.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].ends_with(warning), "{found:?}");
    assert_eq!(
        toml.warnings[0].to_string(),
        found[0].replace(".conf", ".toml")
    );
    let ListenerSettings::Tcp(tcp) = super::only(conf.settings).settings else {
        panic!()
    };
    assert_eq!(tcp.authentication.key.unwrap().len(), 4096);
}

#[test]
fn every_error_is_one_line_that_begins_with_the_place_or_names_the_file() {
    let scratch = Scratch::new();
    let daemon = "fence_virtd { listener = \"tcp\"; backend = \"libvirt\"; }\n";
    let key = write(&scratch, "key", &[7; 4096], 0o644);
    let wide = format!(
        "{daemon}listeners {{ tcp {{ key_file = \"{}\"; }} }}",
        key.display()
    );
    let missing = format!("{daemon}listeners {{ tcp {{ key_file = \"/no/such/key\"; }} }}");
    for (text, place, message) in [
        (
            "fence_virtd {",
            ":1:1: ",
            "section 'fence_virtd' is not closed",
        ),
        ("# nothing", ": ", "there is no section 'fence_virtd'"),
        (
            &format!("{daemon}listeners {{ tcp {{ port = \"x\"; }} }}"),
            ":2:26: ",
            "whole number",
        ),
        (&wide, ":2:30: ", "chmod 0640"),
        (&missing, ":2:30: ", "dd if=/dev/urandom of=/no/such/key"),
        ("\u{feff}\n\u{e9} = \"\";", ":2:5: ", "may not be empty"),
    ] {
        let path = write(&scratch, "t.conf", text.as_bytes(), 0o600);
        let error = load(&path).unwrap_err().to_string();
        let expected = format!("{}{place}", path.display());
        assert!(error.starts_with(&expected), "{error}");
        assert!(error.contains(message), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
    // L26: neither file's mode was changed.
    assert_eq!(
        fs::metadata(&key).unwrap().permissions().mode() & 0o777,
        0o644
    );
}

// L24
#[test]
fn the_kind_of_error_tells_the_culprit() {
    let scratch = Scratch::new();
    let error = load(&scratch.path("none.conf")).unwrap_err();
    assert!(matches!(error, ConfigError::Read { .. }));
    assert!(error.to_string().contains("none.conf"), "{error}");
    assert!(matches!(
        load(&scratch.path("")),
        Err(ConfigError::Read { .. })
    ));
    let path = write(&scratch, "t.conf", b"{", 0o600);
    assert!(matches!(load(&path), Err(ConfigError::Syntax { .. })));
    let path = write(&scratch, "t.conf", b"", 0o600);
    assert!(matches!(load(&path), Err(ConfigError::Setting { .. })));
    if !Path::new(DEFAULT_KEY_FILE).exists() {
        let text = b"fence_virtd { listener = \"tcp\"; backend = \"libvirt\"; }";
        let path = write(&scratch, "t.conf", text, 0o600);
        assert!(matches!(load(&path), Err(ConfigError::Key { .. })));
    }
}

#[test]
fn the_key_file_of_another_listener_is_not_read() {
    let scratch = Scratch::new();
    let text = b"fence_virtd { listener = \"serial\"; backend = \"libvirt\"; }\n\
                 listeners { tcp { key_file = \"/no/such/key\"; } }";
    assert!(load(&write(&scratch, "t.conf", text, 0o600)).is_ok());
}

#[test]
fn size_and_encoding_are_checked_in_both_forms() {
    for form in [Form::Conf, Form::Toml] {
        let spaces = vec![b' '; MAX_BYTES];
        assert!(parse_bytes(&spaces, form).is_ok());
        let SyntaxError { message, .. } =
            parse_bytes(&[spaces.as_slice(), b" "].concat(), form).unwrap_err();
        assert_eq!(message, "a configuration file has at most 1048576 bytes");
        let error = parse_bytes(b"# a\n# \xc3\xa9 \xff", form).unwrap_err();
        assert_eq!(error.to_string(), "2:5: this is not UTF-8 text");
    }
}
