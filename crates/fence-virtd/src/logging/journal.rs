//! Entries with fields for systemd's journal, in its native protocol.
//!
//! Not by the crate tracing-journald: that one is well kept, but sends on the thread that logs, and a journal that
//! hangs must not hold up a fence. Here entries go through the queue as lines do.

use std::fmt::{self, Write};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::queue::{Queue, Sink};
use super::text::{Datagrams, severity};

/// Where the journal takes entries.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";

/// What the name of every field of ours begins with.
const PREFIX: &str = "FENCE_";

/// The most bytes of one value: a datagram has its bound.
const MAX_VALUE: usize = 8 * 1024;

/// The most bytes of an entry's values altogether, the text aside.
const MAX_VALUES: usize = 64 * 1024;

/// Whether standard error is the journal: the variable that systemd sets names its device and inode.
pub(super) fn has_stderr() -> bool {
    let named = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    let stderr = fs::metadata("/proc/self/fd/2");
    stderr.is_ok_and(|stderr| names(&named, stderr.dev(), stderr.ino()))
}

fn names(stream: &str, device: u64, inode: u64) -> bool {
    let numbers = stream.split_once(':');
    numbers.is_some_and(|(dev, ino)| dev.parse() == Ok(device) && ino.parse() == Ok(inode))
}

/// Makes an entry of each event.
pub(super) struct Entries(pub(super) Queue);

impl<S: Subscriber> Layer<S> for Entries {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let meta = event.metadata();
        let mut fields = Fields::default();
        event.record(&mut fields);
        fields.add("FENCE_MODULE", meta.target());
        let text = format!("{}{}", fields.message, fields.details);
        let mut entry = head(*meta.level(), &text);
        entry.extend(fields.entry);
        self.0.put(entry);
    }
}

/// The fields that every entry has.
fn head(level: Level, text: &str) -> Vec<u8> {
    let mut entry = Vec::new();
    put(&mut entry, "MESSAGE", text);
    put(&mut entry, "PRIORITY", &severity(level).to_string());
    put(&mut entry, "SYSLOG_IDENTIFIER", "fence_virtd");
    put(&mut entry, "SYSLOG_FACILITY", "3");
    entry
}

/// One field: its length goes before the value, so that a value may hold anything.
fn put(entry: &mut Vec<u8>, name: &str, value: &str) {
    let value = start_of(value);
    entry.extend(name.as_bytes());
    entry.push(b'\n');
    let length = u64::try_from(value.len()).unwrap_or_default();
    entry.extend(length.to_le_bytes());
    entry.extend(value.as_bytes());
    entry.push(b'\n');
}

fn start_of(value: &str) -> &str {
    value
        .get(..value.floor_char_boundary(MAX_VALUE))
        .unwrap_or(value)
}

/// An event's fields: for people in one line, and each by itself.
#[derive(Default)]
struct Fields {
    message: String,
    details: String,
    entry: Vec<u8>,
}

impl Fields {
    fn add(&mut self, name: &str, value: &str) {
        if self.entry.len() < MAX_VALUES {
            put(&mut self.entry, name, value);
        }
    }

    /// `shown` is for the line, `value` for the field.
    fn take(&mut self, field: &Field, shown: &dyn fmt::Debug, value: &str) {
        let name = field.name();
        // Writing to a string does not fail.
        let _ = write!(self.details, " {name}={shown:?}");
        let name: String = name.chars().map(in_journal).collect();
        self.add(&format!("{PREFIX}{name}"), value);
    }
}

/// Names are upper-case letters, digits and underscores.
const fn in_journal(char: char) -> char {
    let upper = char.to_ascii_uppercase();
    if upper.is_ascii_uppercase() || upper.is_ascii_digit() {
        upper
    } else {
        '_'
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.take(field, &value, value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.take(field, value, &format!("{value:?}"));
        }
    }
}

/// The journal's daemon.
pub(super) struct Journal(pub(super) Datagrams);

impl Sink for Journal {
    fn write(&mut self, entry: &[u8]) -> io::Result<()> {
        self.0.send(entry)
    }

    fn warn(&mut self, text: &str) -> io::Result<()> {
        self.0.send(&head(Level::WARN, text))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::net::UnixDatagram;
    use std::time::Duration;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::scratch::Scratch;

    /// An entry as the journal's daemon reads it.
    fn read(journal: &UnixDatagram) -> BTreeMap<String, String> {
        let mut buffer = vec![0; 256 * 1024];
        let len = journal.recv(&mut buffer).unwrap();
        let mut rest = &buffer[..len];
        let mut fields = BTreeMap::new();
        while !rest.is_empty() {
            let end = rest.iter().position(|byte| *byte == b'\n').unwrap();
            let name = String::from_utf8(rest[..end].to_vec()).unwrap();
            let (length, after) = rest[end + 1..].split_at(8);
            let length = usize::try_from(u64::from_le_bytes(length.try_into().unwrap())).unwrap();
            let value = String::from_utf8(after[..length].to_vec()).unwrap();
            assert_eq!(after[length], b'\n');
            assert!(fields.insert(name, value).is_none());
            rest = &after[length + 1..];
        }
        fields
    }

    fn journal(scratch: &Scratch) -> (UnixDatagram, impl Subscriber + Send + Sync) {
        let path = scratch.path("journal");
        let journal = UnixDatagram::bind(&path).unwrap();
        journal
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let sink = Journal(Datagrams::connect(&path).unwrap());
        let queue = Queue::start(Box::new(sink)).unwrap();
        let subscriber = tracing_subscriber::registry().with(Entries(queue));
        (journal, subscriber)
    }

    #[test]
    fn entry_has_a_line_for_people_and_a_field_for_each_value() {
        let scratch = Scratch::new();
        let (journal, subscriber) = journal(&scratch);
        tracing::subscriber::with_default(subscriber, || {
            let (domain, none) = ("vm\n1\u{e4}", None::<&str>);
            tracing::info!(listener = "tcp", peer = %"10.0.0.1:5", domain, none, elapsed_ms = 12, "answered");
            tracing::error!("something {}", "broke");
        });
        let entry = read(&journal);
        let value = |name: &str| entry.get(name).map(String::as_str);
        assert_eq!(
            value("MESSAGE"),
            Some("answered listener=\"tcp\" peer=10.0.0.1:5 domain=\"vm\\n1\u{e4}\" elapsed_ms=12")
        );
        assert_eq!(value("PRIORITY"), Some("6"));
        assert_eq!(value("SYSLOG_IDENTIFIER"), Some("fence_virtd"));
        assert_eq!(value("FENCE_DOMAIN"), Some("vm\n1\u{e4}"));
        assert_eq!(value("FENCE_PEER"), Some("10.0.0.1:5"));
        assert_eq!(value("FENCE_ELAPSED_MS"), Some("12"));
        assert_eq!(value("FENCE_NONE"), None);
        let entry = read(&journal);
        assert_eq!(entry["MESSAGE"], "something broke");
        assert_eq!(entry["PRIORITY"], "3");
    }

    #[test]
    fn entry_of_any_size_is_bounded() {
        let scratch = Scratch::new();
        let (journal, subscriber) = journal(&scratch);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(long = "\u{20ac}".repeat(100_000), "long");
        });
        let entry = read(&journal);
        assert!(
            entry["FENCE_LONG"].len() <= MAX_VALUE && entry["FENCE_LONG"].len() > MAX_VALUE - 3
        );
        assert!(entry["MESSAGE"].starts_with("long long="));
    }

    #[test]
    fn standard_error_is_the_journal_if_the_variable_names_it() {
        assert!(names("8:1234", 8, 1234));
        for other in ["", "8", "8:", "8:1235", "9:1234", "8:1234:5", "x:1234"] {
            assert!(!names(other, 8, 1234), "{other}");
        }
    }
}
