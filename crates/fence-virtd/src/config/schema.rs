//! Every section and key there is: the one table behind unknown-name warnings, their hints and the
//! lookups of the validator.

/// A section of the configuration and what may be in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Schema {
    /// The section's name; empty for the top of the file.
    pub(super) name: &'static str,
    /// The key within that says the same as the value before the brace: there may be one section for
    /// each name, beside one without.
    pub(super) named: Option<&'static str>,
    /// Keys that have one value.
    pub(super) keys: &'static [&'static str],
    /// Keys that may be given several times.
    pub(super) lists: &'static [&'static str],
    /// A key that may also be numbered from 1 (`uri`, `uri1`, `uri2`, …).
    pub(super) numbered: Option<&'static str>,
    /// Sections within.
    pub(super) sections: &'static [&'static Schema],
    /// Sections within that may be given several times.
    pub(super) repeated: &'static [&'static Schema],
}

const EMPTY: Schema = Schema {
    name: "",
    named: None,
    keys: &[],
    lists: &[],
    numbered: None,
    sections: &[],
    repeated: &[],
};

/// The top of the file.
pub(super) static ROOT: Schema = Schema {
    sections: &[&FENCE_VIRTD, &LISTENERS, &BACKENDS, &GROUPS],
    ..EMPTY
};

/// What the daemon itself does.
pub(super) static FENCE_VIRTD: Schema = Schema {
    name: "fence_virtd",
    keys: &[
        "backend",
        "foreground",
        "wait_for_init",
        "wait_for_backend",
        "module_path",
        "debug",
        "name_mode",
    ],
    lists: &["listener"],
    ..EMPTY
};

/// How requests arrive; one section for each listener.
pub(super) static LISTENERS: Schema = Schema {
    name: "listeners",
    sections: &[&MULTICAST, &TCP, &VSOCK, &SERIAL],
    ..EMPTY
};

/// UDP multicast and a call-back over TCP.
pub(super) static MULTICAST: Schema = Schema {
    name: "multicast",
    named: Some("name"),
    keys: &[
        "name",
        "key_file",
        "hash",
        "auth",
        "family",
        "address",
        "port",
        "interface",
        "answer_unknown",
    ],
    ..EMPTY
};

/// TCP.
pub(super) static TCP: Schema = Schema {
    name: "tcp",
    named: Some("name"),
    keys: &[
        "name", "key_file", "hash", "auth", "family", "address", "port",
    ],
    ..EMPTY
};

/// Sockets between host and guest.
pub(super) static VSOCK: Schema = Schema {
    name: "vsock",
    named: Some("name"),
    keys: &["name", "key_file", "hash", "auth", "port"],
    ..EMPTY
};

/// Serial lines and vmchannels.
pub(super) static SERIAL: Schema = Schema {
    name: "serial",
    named: Some("name"),
    keys: &["name", "uri", "path", "mode"],
    ..EMPTY
};

/// Who acts; one section for each backend.
pub(super) static BACKENDS: Schema = Schema {
    name: "backends",
    sections: &[&LIBVIRT, &CPG],
    ..EMPTY
};

/// libvirt on this host.
pub(super) static LIBVIRT: Schema = Schema {
    name: "libvirt",
    numbered: Some("uri"),
    ..EMPTY
};

/// libvirt on all hosts of a corosync cluster.
pub(super) static CPG: Schema = Schema {
    name: "cpg",
    keys: &[
        "name_mode",
        "group",
        "request_timeout",
        "unknown_domain",
        "fence_proof",
        "fence_proof_command",
    ],
    lists: &["hosts"],
    numbered: Some("uri"),
    ..EMPTY
};

/// Who may fence whom.
pub(super) static GROUPS: Schema = Schema {
    name: "groups",
    named: Some("listener"),
    keys: &["listener"],
    repeated: &[&GROUP],
    ..EMPTY
};

/// One group.
pub(super) static GROUP: Schema = Schema {
    name: "group",
    keys: &["name"],
    lists: &["uuid", "ip"],
    ..EMPTY
};

/// What a name within a section is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// A key with one value, and its number (0 for a key without).
    Key(&'static str, u32),
    /// A key with several values.
    List(&'static str),
    /// A section that is there once.
    Section(&'static Schema),
    /// A section that is there several times.
    Repeated(&'static Schema),
}

impl Schema {
    /// Looks a name up, without regard to case.
    pub(super) fn find(&self, name: &str) -> Option<Known> {
        let is = |known: &&&'static str| known.eq_ignore_ascii_case(name);
        let is_section = |known: &&&'static Self| known.name.eq_ignore_ascii_case(name);
        if let Some(key) = self.keys.iter().find(is) {
            return Some(Known::Key(key, 0));
        }
        if let Some(key) = self.lists.iter().find(is) {
            return Some(Known::List(key));
        }
        if let Some(section) = self.sections.iter().find(is_section) {
            return Some(Known::Section(section));
        }
        if let Some(section) = self.repeated.iter().find(is_section) {
            return Some(Known::Repeated(section));
        }
        let key = self.numbered?;
        Some(Known::Key(key, number_of(key, name)?))
    }

    /// Everything that may be in the section.
    fn names(&self) -> impl Iterator<Item = &'static str> {
        let sections = self.sections.iter().chain(self.repeated);
        self.keys
            .iter()
            .chain(self.lists)
            .copied()
            .chain(self.numbered)
            .chain(sections.map(|section| section.name))
    }

    /// What to say about a name that is not in the section: the one that was probably meant, or all.
    pub(super) fn hint(&self, name: &str) -> String {
        let name = name.to_ascii_lowercase();
        let near = self
            .names()
            .map(|known| (strsim::damerau_levenshtein(known, &name), known))
            .filter(|(distance, known)| *distance <= 1.max(known.len() / 3))
            .min();
        match near {
            Some((_, known)) => format!("did you mean '{known}'?"),
            None => {
                let all: Vec<_> = self.names().collect();
                format!("there may be: {}", all.join(", "))
            }
        }
    }
}

/// The number in `uri`, `uri1`, `uri2`, …; 0 for `uri` itself. Not `uri0` or `uri01`, which the
/// original ignores and which would be second names for the same.
fn number_of(key: &str, name: &str) -> Option<u32> {
    let (stem, digits) = name.split_at_checked(key.len())?;
    if !stem.eq_ignore_ascii_case(key) {
        return None;
    }
    if digits.is_empty() {
        return Some(0);
    }
    if digits.starts_with('0') || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_without_regard_to_case() {
        assert_eq!(TCP.find("KEY_file"), Some(Known::Key("key_file", 0)));
        assert_eq!(TCP.find("interface"), None);
        assert_eq!(LISTENERS.find("Tcp"), Some(Known::Section(&TCP)));
        assert_eq!(GROUPS.find("group"), Some(Known::Repeated(&GROUP)));
        assert_eq!(GROUP.find("IP"), Some(Known::List("ip")));
    }

    #[test]
    fn uris_are_numbered_from_1() {
        assert_eq!(LIBVIRT.find("uri"), Some(Known::Key("uri", 0)));
        assert_eq!(LIBVIRT.find("URI12"), Some(Known::Key("uri", 12)));
        for name in [
            "uri0",
            "uri01",
            "uri+1",
            "uri99999999999",
            "ur",
            "uré",
            "uri1x",
        ] {
            assert_eq!(LIBVIRT.find(name), None, "{name}");
        }
        assert_eq!(SERIAL.find("uri1"), None);
    }

    #[test]
    fn hints_name_the_nearest_or_all() {
        assert_eq!(TCP.hint("keyfile"), "did you mean 'key_file'?");
        assert_eq!(TCP.hint("Adress"), "did you mean 'address'?");
        assert_eq!(ROOT.hint("listener"), "did you mean 'listeners'?");
        assert_eq!(
            VSOCK.hint("interface"),
            "there may be: name, key_file, hash, auth, port"
        );
        assert_eq!(LIBVIRT.hint("uri0"), "did you mean 'uri'?");
    }
}
