//! The questions, in the original's order, and where each answer goes in the tree. What is not asked for stays as
//! it is: groups, other listeners, keys of which this knows nothing.

use std::path::{Path, PathBuf};

use super::dialog::{Abort, Dialog};
use super::edit;
use crate::config::{DEFAULT_KEY_FILE, DEFAULT_URI, Item, Tree, Wanted, check_answer, family_name};

/// The word for "leave this out".
const NONE: &str = "none";

/// What this machine has.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    /// Interfaces that can do multicast, each with its addresses.
    pub interfaces: Vec<(String, Vec<String>)>,
}

/// What came of the questions, beside the tree.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answers {
    /// A key is to be made here.
    pub(super) make_key: Option<PathBuf>,
}

/// Asks everything and changes the tree accordingly.
pub(super) fn ask_all(
    dialog: &mut Dialog<'_>,
    tree: &mut Tree,
    machine: &Machine,
) -> Result<Answers, Abort> {
    let mut answers = Answers::default();
    let listener = ask_listener(dialog, tree)?;
    let listeners = edit::section(&mut tree.items, "listeners");
    let own = listener.own.as_deref();
    let section = &mut edit::listener(&mut listeners.items, listener.kind, own).items;
    match listener.kind {
        "multicast" => multicast(dialog, section, machine)?,
        "tcp" => tcp(dialog, section, machine)?,
        "vsock" => vsock(dialog, section)?,
        _ => serial(dialog, section)?,
    }
    if listener.kind != "serial" {
        answers.make_key = key(dialog, section)?;
    }
    backend(dialog, tree)?;
    Ok(answers)
}

const KINDS: [&str; 4] = ["multicast", "tcp", "vsock", "serial"];

/// A listener that can be chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Listener {
    kind: &'static str,
    /// The name of its own.
    own: Option<String>,
}

fn kind_of(name: &str) -> Option<&'static str> {
    KINDS
        .into_iter()
        .find(|kind| kind.eq_ignore_ascii_case(name))
}

/// The listeners of the file that have names of their own.
fn named_listeners(tree: &Tree) -> Vec<Listener> {
    let sections = edit::items_of(tree, "listeners")
        .iter()
        .filter_map(|item| match item {
            Item::Section(section) => Some(section),
            Item::Assignment(_) => None,
        });
    let named = sections.filter_map(|section| {
        Some(Listener {
            kind: kind_of(&section.name.text)?,
            own: Some(edit::own_name(section)?.to_owned()),
        })
    });
    named.collect()
}

fn ask_listener(dialog: &mut Dialog<'_>, tree: &mut Tree) -> Result<Listener, Abort> {
    let named = named_listeners(tree);
    let chosen = edit::all_values(edit::items_of(tree, "fence_virtd"), "listener");
    let chosen: Vec<String> = chosen.into_iter().map(str::to_owned).collect();
    dialog.say(
        "\nGuests reach this host by multicast (fence_xvm), TCP, vsock or a serial line (fence_virt).",
    )?;
    if chosen.len() > 1 {
        let names = chosen.join(", ");
        dialog.say(&format!(
            "The file has several listeners: {names}. These questions are about one, the first; the others stay."
        ))?;
    }
    let find = |answer: &str| -> Option<Listener> {
        let is = |it: &&Listener| {
            it.own
                .as_ref()
                .is_some_and(|own| own.eq_ignore_ascii_case(answer))
        };
        let by_kind = kind_of(answer).map(|kind| Listener { kind, own: None });
        by_kind.or_else(|| named.iter().find(is).cloned())
    };
    let owns = named.iter().filter_map(|it| it.own.as_deref());
    let choices: Vec<&str> = KINDS.into_iter().chain(owns).collect();
    let choices = choices.join(", ");
    let default = chosen.first().filter(|it| find(it).is_some());
    let default = default.map_or("multicast", String::as_str);
    let answer = dialog.ask(&format!("Listener ({choices})"), default, &|answer| {
        let found = find(answer).map(|it| it.own.unwrap_or_else(|| it.kind.to_owned()));
        found.ok_or_else(|| format!("it must be one of {choices}"))
    })?;
    let daemon = edit::section(&mut tree.items, "fence_virtd");
    let others = chosen.iter().skip(1).map(String::as_str);
    let others = others.filter(|other| !other.eq_ignore_ascii_case(&answer));
    let all: Vec<&str> = [answer.as_str()].into_iter().chain(others).collect();
    edit::set_all(&mut daemon.items, "listener", &all);
    // The check has seen that there is one.
    Ok(find(&answer).unwrap_or(Listener {
        kind: "multicast",
        own: None,
    }))
}

/// Asks for a value that is checked as the file's is, with the present one as its default.
fn ask_value(
    dialog: &mut Dialog<'_>,
    items: &mut Vec<Item>,
    (key, question, default): (&str, &str, &str),
    wanted: Wanted,
) -> Result<String, Abort> {
    let present = edit::value(items, key).unwrap_or(default).to_owned();
    let answer = dialog.ask(question, &present, &|answer| {
        check_answer(wanted, answer).map(|()| answer.to_owned())
    })?;
    edit::set(items, key, &answer);
    Ok(answer)
}

/// The same for a key that may be left out.
fn ask_optional(
    dialog: &mut Dialog<'_>,
    items: &mut Vec<Item>,
    (key, question): (&str, &str),
    wanted: Wanted,
) -> Result<(), Abort> {
    let present = edit::value(items, key).unwrap_or(NONE).to_owned();
    let answer = dialog.ask(question, &present, &|answer| {
        if answer.eq_ignore_ascii_case(NONE) {
            return Ok(NONE.to_owned());
        }
        check_answer(wanted, answer).map(|()| answer.to_owned())
    })?;
    match answer.as_str() {
        NONE => edit::unset(items, key),
        answer => edit::set(items, key, answer),
    }
    Ok(())
}

fn multicast(
    dialog: &mut Dialog<'_>,
    items: &mut Vec<Item>,
    machine: &Machine,
) -> Result<(), Abort> {
    dialog.say("\nThe multicast group must be the same on hosts and guests.")?;
    let default = match edit::value(items, "family") {
        Some(family) if family.eq_ignore_ascii_case("ipv6") => "ff05::3:1",
        _ => "225.0.0.12",
    };
    let address = ("address", "Multicast address", default);
    let address = ask_value(dialog, items, address, Wanted::Group)?;
    edit::set(items, "family", family_name(&address));
    ask_value(dialog, items, ("port", "UDP port", "1229"), Wanted::Port)?;
    interface(dialog, items, machine)
}

fn interface(
    dialog: &mut Dialog<'_>,
    items: &mut Vec<Item>,
    machine: &Machine,
) -> Result<(), Abort> {
    dialog.say(
        "\nWith an interface, only requests that come through it are heard: the bridge of the guests. With 'none' it is all \
         that can do multicast.",
    )?;
    for (name, addresses) in &machine.interfaces {
        dialog.say(&format!("  {name}  {}", addresses.join(" ")))?;
    }
    let present = edit::value(items, "interface").unwrap_or(NONE).to_owned();
    let known: Vec<&str> = machine
        .interfaces
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    let is_known = |name: &str| known.contains(&name);
    if present != NONE && !is_known(&present) {
        dialog.say(&format!(
            "The file names {present}, which is not there now: the daemon waits for it only with -w."
        ))?;
    }
    let answer = dialog.ask("Interface", &present, &|answer| {
        check_answer(Wanted::Interface, answer)?;
        if answer.eq_ignore_ascii_case(NONE) {
            return Ok(NONE.to_owned());
        }
        if is_known(answer) || answer == present {
            return Ok(answer.to_owned());
        }
        Err(format!(
            "there is no such interface that can do multicast; there are {NONE}, {}",
            known.join(", ")
        ))
    })?;
    match answer.as_str() {
        NONE => edit::unset(items, "interface"),
        answer => edit::set(items, "interface", answer),
    }
    Ok(())
}

fn tcp(dialog: &mut Dialog<'_>, items: &mut Vec<Item>, machine: &Machine) -> Result<(), Abort> {
    dialog.say(
        "\nThe address must be one of this host that guests can reach; the loopback alone reaches no guest.",
    )?;
    for (name, addresses) in &machine.interfaces {
        dialog.say(&format!("  {name}  {}", addresses.join(" ")))?;
    }
    let default = match edit::value(items, "family") {
        Some(family) if family.eq_ignore_ascii_case("ipv6") => "::1",
        _ => "127.0.0.1",
    };
    let address = ("address", "Address to listen on", default);
    let address = ask_value(dialog, items, address, Wanted::Address)?;
    if !address.eq_ignore_ascii_case("localhost") {
        edit::set(items, "family", family_name(&address));
    }
    ask_value(dialog, items, ("port", "TCP port", "1229"), Wanted::Port)?;
    Ok(())
}

fn vsock(dialog: &mut Dialog<'_>, items: &mut Vec<Item>) -> Result<(), Abort> {
    dialog.say("\nGuests need a vsock device; see fence_virt.conf(5).")?;
    ask_value(
        dialog,
        items,
        ("port", "vsock port", "1229"),
        Wanted::VsockPort,
    )?;
    Ok(())
}

fn serial(dialog: &mut Dialog<'_>, items: &mut Vec<Item>) -> Result<(), Abort> {
    dialog.say("\nGuests need a serial line or a channel of their own that leads to a UNIX socket of this host.")?;
    let uri = ("uri", "libvirt URI of the guests (none: libvirt's default)");
    ask_optional(dialog, items, uri, Wanted::Uri)?;
    dialog.say(
        "\nThe daemon connects to the sockets in this directory only. Without one it connects to those of every line of every \
         domain, and keeps other programs from them.",
    )?;
    let path = ("path", "Directory of the sockets (none: anywhere)");
    ask_optional(dialog, items, path, Wanted::Path)?;
    one_of(
        dialog,
        items,
        ("mode", "Mode", "serial"),
        &["serial", "vmchannel"],
    )?;
    Ok(())
}

/// Asks for one of a few words.
fn one_of(
    dialog: &mut Dialog<'_>,
    items: &mut Vec<Item>,
    (key, question, default): (&str, &str, &str),
    words: &[&str],
) -> Result<String, Abort> {
    let find = |answer: &str| words.iter().find(|word| word.eq_ignore_ascii_case(answer));
    let present = edit::value(items, key)
        .and_then(find)
        .copied()
        .unwrap_or(default);
    let choices = words.join(", ");
    let answer = dialog.ask(&format!("{question} ({choices})"), present, &|answer| {
        find(answer)
            .map(|word| (*word).to_owned())
            .ok_or_else(|| format!("it must be one of {choices}"))
    })?;
    edit::set(items, key, &answer);
    Ok(answer)
}

fn key(dialog: &mut Dialog<'_>, items: &mut Vec<Item>) -> Result<Option<PathBuf>, Abort> {
    dialog.say("\nThe key file holds the secret that all hosts and guests of a cluster share.")?;
    let file = ("key_file", "Key file", DEFAULT_KEY_FILE);
    let file = ask_value(dialog, items, file, Wanted::Path)?;
    let path = Path::new(&file);
    // A link that leads nowhere is not to be written through.
    if path.symlink_metadata().is_ok() {
        return Ok(None);
    }
    dialog.say(
        "There is no such file. If other hosts or guests have a key already, answer n and copy it there.",
    )?;
    let make = dialog.confirm("Make a new key of 4096 random bytes there", true)?;
    Ok(make.then(|| path.to_owned()))
}

fn backend(dialog: &mut Dialog<'_>, tree: &mut Tree) -> Result<(), Abort> {
    dialog.say(
        "\nThe backend libvirt fences the domains of this host; cpg those of all hosts of a corosync cluster, wherever they run.",
    )?;
    let daemon = &mut edit::section(&mut tree.items, "fence_virtd").items;
    let name = one_of(
        dialog,
        daemon,
        ("backend", "Backend", "libvirt"),
        &["libvirt", "cpg"],
    )?;
    let older = edit::value(daemon, "name_mode")
        .unwrap_or("name")
        .to_owned();
    let backends = edit::section(&mut tree.items, "backends");
    let items = &mut edit::section(&mut backends.items, &name).items;
    ask_value(
        dialog,
        items,
        ("uri", "libvirt URI", DEFAULT_URI),
        Wanted::Uri,
    )?;
    if name == "cpg" {
        dialog.say(
            "\nDaemons of the original among the hosts must call domains the same; uuid is safer, since names may collide.",
        )?;
        one_of(
            dialog,
            items,
            ("name_mode", "Domains are called by", &older),
            &["name", "uuid"],
        )?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "questions_tests.rs"]
mod tests;
