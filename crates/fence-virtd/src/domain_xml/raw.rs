//! What is done with XML before it is parsed, or because it cannot be: plain searches, linear in its length.
//!
//! The parser takes quadratic time for many namespaces and for many attributes of one element. What libvirt
//! writes has neither; a domain's `<metadata>` is its owner's own XML and may have anything.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::PathBuf;

use super::usable;

/// Most namespaces that are declared. libvirt declares one or two, for its drivers.
const MAX_NAMESPACES: usize = 64;

/// Most attributes of one element. libvirt's longest have some thirty.
const MAX_ATTRIBUTES: usize = 256;

/// Most paths that are found in XML that cannot be read; a hypervisor has no files for so many.
const MAX_PATHS: usize = 65_536;

const START: &str = "<metadata";
const END: &str = "</metadata>";

/// The XML without the domain's metadata. libvirt escapes what it writes itself, so that the first start tag and the
/// last end tag are the element's own, whatever is between them.
pub(super) fn without_metadata(xml: &str) -> Cow<'_, str> {
    let is_tag = |at: &usize| {
        let next = xml.as_bytes().get(at.saturating_add(START.len()));
        next.is_some_and(|byte| matches!(byte, b'>' | b'/') || byte.is_ascii_whitespace())
    };
    let start = xml
        .match_indices(START)
        .map(|(at, _)| at)
        .find(|at| is_tag(at));
    let end = xml.rfind(END).map(|at| at.saturating_add(END.len()));
    match start.zip(end) {
        Some((start, end)) if start < end => {
            let (before, after) = (xml.get(..start), xml.get(end..));
            Cow::Owned([before, after].into_iter().flatten().collect())
        }
        _ => Cow::Borrowed(xml),
    }
}

/// Whether a parser gets through it in time that grows with its length only.
pub(super) fn is_plain(xml: &str) -> bool {
    let namespaces = xml.matches("xmlns").take(MAX_NAMESPACES + 1).count();
    namespaces <= MAX_NAMESPACES && most_attributes(xml) <= MAX_ATTRIBUTES
}

/// At least as many as the element with the most has. An attribute has two quotes and no `<`.
fn most_attributes(xml: &str) -> usize {
    let (mut quotes, mut most) = (0_usize, 0);
    for byte in xml.bytes() {
        match byte {
            b'<' => quotes = 0,
            b'"' | b'\'' => quotes = quotes.saturating_add(1),
            _ => continue,
        }
        most = most.max(quotes);
    }
    most / 2
}

/// All that may be the path of a socket, whatever for: more than there are, never fewer. XML that libvirt wrote
/// does not hide any.
pub(super) fn paths(xml: &str) -> BTreeSet<PathBuf> {
    let mut paths = BTreeSet::new();
    for (at, name) in xml.match_indices("path=") {
        let value = xml.get(at.saturating_add(name.len())..);
        let path = value.and_then(quoted).map(unescape);
        paths.extend(path.as_deref().and_then(usable));
        if paths.len() >= MAX_PATHS {
            break;
        }
    }
    paths
}

/// What is between the quotes at the start.
fn quoted(text: &str) -> Option<&str> {
    let quote = text.chars().next().filter(|quote| "'\"".contains(*quote))?;
    let rest = text.get(1..)?;
    // What is longer is no socket's path, and is not searched to its end again and again.
    let near = rest.get(..rest.floor_char_boundary(1024))?;
    near.split_once(quote).map(|(value, _)| value)
}

/// The entities that libvirt writes.
fn unescape(text: &str) -> String {
    let entities = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&apos;", "'"),
        ("&#9;", "\t"),
        ("&#10;", "\n"),
        ("&#13;", "\r"),
        ("&amp;", "&"),
    ];
    let text = text.to_owned();
    let replace = |text: String, (entity, is): (&str, &str)| text.replace(entity, is);
    entities.into_iter().fold(text, replace)
}
