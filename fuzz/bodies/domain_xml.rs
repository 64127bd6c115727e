//! A domain's XML: any bytes are devices within their bounds, or an error of one line; and what is written
//! into a well-formed one is found again, and nothing else.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use fence_virtd::domain_xml::{Devices, MAX_SOCKETS, cid_of};

/// Reads them as they are, and as the values of a domain's devices.
pub(crate) fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    read(&text);
    read(&format!("<domain><devices>{text}</devices></domain>"));
    write_and_read(data);
}

fn read(xml: &str) {
    match Devices::of(xml) {
        Ok(devices) => {
            for sockets in [&devices.serial, &devices.guestfwd] {
                assert!(sockets.len() <= MAX_SOCKETS);
                for (index, path) in sockets.iter().enumerate() {
                    assert!(!sockets[..index].contains(path));
                }
            }
            assert!(devices.sockets().all(|path| is_socket(path)));
            assert!(devices.cid.is_none_or(|cid| cid > 2 && cid < u32::MAX));
            assert_eq!(cid_of(xml), Ok(devices.cid));
        }
        Err(error) => {
            let message = error.to_string();
            assert!(
                !message.is_empty() && !message.contains(char::is_control),
                "{message:?}"
            );
            assert!(error.sockets.iter().all(|path| is_socket(path)));
        }
    }
}

fn is_socket(path: &Path) -> bool {
    path.is_absolute() && path.as_os_str().len() <= 107
}

/// The bytes choose devices and their paths.
fn write_and_read(data: &[u8]) {
    let (mut xml, mut expected) = (String::new(), Devices::default());
    for chunk in data.chunks(12).take(MAX_SOCKETS) {
        let Some((kind, rest)) = chunk.split_first() else {
            return;
        };
        let path: String = rest.iter().map(|byte| char::from(32 + byte % 95)).collect();
        let path = format!("/{path}");
        let escaped = escape(&path);
        let source = format!("<source mode='bind' path='{escaped}'/>");
        let sockets = match kind % 5 {
            0 => {
                let _ = write!(xml, "<serial type='unix'>{source}</serial>");
                &mut expected.serial
            }
            1 => {
                let target = "<target type='guestfwd' address='10.0.2.179' port='1229'/>";
                let _ = write!(xml, "<channel type='unix'>{source}{target}</channel>");
                &mut expected.guestfwd
            }
            2 => {
                let _ = write!(
                    xml,
                    "<channel type='unix'>{source}<target type='virtio'/></channel>"
                );
                expected.others.insert(PathBuf::from(path));
                continue;
            }
            3 => {
                // Not a socket that the hypervisor listens on.
                let _ = write!(xml, "<serial type='file'>{source}</serial>");
                continue;
            }
            _ => {
                let cid = 3 + u32::from(*kind);
                let _ = write!(xml, "<vsock><cid auto='yes' address='{cid}'/></vsock>");
                expected.cid = expected.cid.or(Some(cid));
                continue;
            }
        };
        add(sockets, Path::new(&path));
    }
    let xml = format!("<domain><name>vm</name><devices>{xml}</devices></domain>");
    assert_eq!(Devices::of(&xml), Ok(expected), "{xml}");
}

fn add(sockets: &mut Vec<PathBuf>, path: &Path) {
    if !sockets.iter().any(|known| known == path) {
        sockets.push(path.to_owned());
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\'' => escaped.push_str("&apos;"),
            other => escaped.push(other),
        }
    }
    escaped
}
