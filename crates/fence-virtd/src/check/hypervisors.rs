//! libvirt: whether each hypervisor answers and lets us act, and which way its domains have to the daemon.

use std::path::PathBuf;

use fence_doctor::Finding;
use fence_doctor::finding::some_of;
use virt::connect::Connect;
use virt::domain::Domain;

use crate::config::{BackendSettings, ListenerSettings, SerialMode, SerialSettings, Settings};
use crate::domain_xml::Devices;

const LIBVIRT: &str = "libvirt";
const GUESTS: &str = "guests";

/// Domains whose devices are read, at most.
const MAX_DOMAINS: usize = 4096;

/// A domain that is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Running {
    pub(super) name: String,
    /// What it has, or why that cannot be told.
    pub(super) devices: Result<Devices, String>,
}

/// What a hypervisor says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hypervisor {
    /// It lets us act.
    Open {
        /// All its domains.
        domains: usize,
        /// Those that are on.
        running: Vec<Running>,
    },
    /// It lets us look only.
    ReadOnly(String),
    /// It does not let us in, or is not there.
    Closed(String),
}

/// The hypervisors of a configuration, each once.
pub(super) fn uris(settings: &Settings) -> Vec<String> {
    let mut uris = match &settings.backend {
        BackendSettings::Libvirt(libvirt) => libvirt.uris.clone(),
        BackendSettings::Cpg(cpg) => cpg.uris.clone(),
    };
    uris.extend(serial(settings).map(uri_of));
    let mut once: Vec<String> = Vec::new();
    for uri in uris {
        if !once.contains(&uri) {
            once.push(uri);
        }
    }
    once
}

/// Empty for libvirt's own default.
fn uri_of(serial: &SerialSettings) -> String {
    serial.uri.clone().unwrap_or_default()
}

fn serial(settings: &Settings) -> impl Iterator<Item = &SerialSettings> {
    settings
        .listeners
        .iter()
        .filter_map(|it| match &it.settings {
            ListenerSettings::Serial(serial) => Some(serial),
            _ => None,
        })
}

/// Asks one; blocks while it does not answer.
pub(super) fn ask(uri: &str) -> Hypervisor {
    // Errors come back from the calls; on standard error they would be in the way.
    virt::error::clear_error_callback();
    let uri = (!uri.is_empty()).then_some(uri);
    match Connect::open(uri) {
        Ok(mut connect) => {
            let answer = look(&connect);
            // libvirt frees the handle whatever close says.
            let _ = connect.close();
            answer
        }
        Err(error) => match Connect::open_read_only(uri) {
            Ok(mut connect) => {
                let _ = connect.close();
                Hypervisor::ReadOnly(error.message().to_owned())
            }
            Err(_) => Hypervisor::Closed(error.message().to_owned()),
        },
    }
}

fn look(connect: &Connect) -> Hypervisor {
    let domains = match connect.list_all_domains(0) {
        Ok(domains) => domains,
        Err(error) => return Hypervisor::Closed(error.message().to_owned()),
    };
    let running = domains.iter().filter(|it| it.is_active().unwrap_or(false));
    Hypervisor::Open {
        domains: domains.len(),
        running: running.take(MAX_DOMAINS).map(devices).collect(),
    }
}

fn devices(domain: &Domain) -> Running {
    let xml = domain
        .get_xml_desc(0)
        .map_err(|error| error.message().to_owned());
    let devices = xml.and_then(|xml| Devices::of(&xml).map_err(|error| error.to_string()));
    Running {
        name: domain.get_name().unwrap_or_default(),
        devices,
    }
}

/// An answer, or that there was none in time.
pub(super) type Answered = (String, Result<Hypervisor, String>);

/// Judges.
pub(super) fn judge(settings: &Settings, answers: &[Answered]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = answers
        .iter()
        .map(|(uri, answer)| hypervisor(uri, answer))
        .collect();
    for listener in serial(settings) {
        let wanted = uri_of(listener);
        let of_uri = answers.iter().filter(|(uri, _)| *uri == wanted);
        findings.push(lines(listener, &running(of_uri)));
    }
    let vsock = |it: &crate::config::Listener| matches!(it.settings, ListenerSettings::Vsock(_));
    if settings.listeners.iter().any(vsock) {
        findings.push(cids(&running(answers.iter())));
    }
    findings
}

fn running<'a>(answers: impl Iterator<Item = &'a Answered>) -> Vec<&'a Running> {
    let open = answers.filter_map(|(_, answer)| match answer {
        Ok(Hypervisor::Open { running, .. }) => Some(running),
        _ => None,
    });
    open.flatten().collect()
}

fn hypervisor(uri: &str, answer: &Result<Hypervisor, String>) -> Finding {
    let name = if uri.is_empty() {
        "libvirt's default URI"
    } else {
        uri
    };
    match answer {
        Ok(Hypervisor::Open { domains, running }) => {
            if uri.ends_with("/session") {
                return Finding::warning(
                    LIBVIRT,
                    format!(
                        "{name} has the domains of the user that the daemon runs as, and nobody else's"
                    ),
                    "use qemu:///system, unless the guests are that user's own",
                );
            }
            Finding::ok(
                LIBVIRT,
                format!("{name} answers; domains: {domains}, on: {}", running.len()),
            )
        }
        Ok(Hypervisor::ReadOnly(why)) => Finding::problem(
            LIBVIRT,
            format!("{name} can be read but not used: {why}"),
            "run as root, or put the daemon's user into the group libvirt",
        ),
        Ok(Hypervisor::Closed(why)) => {
            Finding::problem(LIBVIRT, format!("{name}: {why}"), closed_cure(why))
        }
        Err(late) => Finding::problem(
            LIBVIRT,
            format!("{name}: {late}"),
            "libvirt hangs: see what it does (journalctl -u libvirtd, or -u virtqemud) and restart it; guests run on",
        ),
    }
}

fn closed_cure(why: &str) -> &'static str {
    let why = why.to_ascii_lowercase();
    if why.contains("permission denied") || why.contains("authentication") || why.contains("polkit")
    {
        "run as root, or put the daemon's user into the group libvirt"
    } else if why.contains("no such file") || why.contains("refused") {
        "start libvirt: systemctl enable --now libvirtd, or virtqemud.socket; and look at uri"
    } else {
        "look at uri in the backend's section; virsh -c URI list must work as the daemon's user"
    }
}

fn lines(listener: &SerialSettings, running: &[&Running]) -> Finding {
    let (what, element) = match listener.mode {
        SerialMode::Serial => ("serial line", "<serial type='unix'>"),
        SerialMode::Vmchannel => ("channel", "<channel type='unix'> with a guestfwd target"),
    };
    let cure = format!(
        "give them {element} with <source mode='bind' path='…'/>; fence_virt.conf(5) has the XML"
    );
    let has = |it: &&&Running| !sockets(listener, it).is_empty();
    let without: Vec<String> = running
        .iter()
        .filter(|it| !has(it))
        .map(|it| it.name.clone())
        .collect();
    let gone: Vec<String> = running
        .iter()
        .flat_map(|it| sockets(listener, it))
        .filter(|path| !path.exists())
        .map(|path| path.display().to_string())
        .collect();
    if running.is_empty() {
        return Finding::skipped(GUESTS, format!("no domain is on that could have a {what}"));
    }
    if !without.is_empty() {
        let below = listener
            .path
            .as_ref()
            .map(|path| format!(" below {}", path.display()));
        let names = some_of(&without);
        let found = format!(
            "domains without a {what}{}: {names}",
            below.unwrap_or_default()
        );
        return Finding::warning(GUESTS, found, cure);
    }
    if !gone.is_empty() {
        return Finding::warning(
            GUESTS,
            format!(
                "sockets that domains name are not there: {}",
                some_of(&gone)
            ),
            "start those domains anew",
        );
    }
    Finding::ok(
        GUESTS,
        format!("domains that are on: {}; all have a {what}", running.len()),
    )
}

/// Those that the listener would serve.
fn sockets<'r>(listener: &SerialSettings, running: &'r Running) -> Vec<&'r PathBuf> {
    let Ok(devices) = &running.devices else {
        return Vec::new();
    };
    let all = match listener.mode {
        SerialMode::Serial => &devices.serial,
        SerialMode::Vmchannel => &devices.guestfwd,
    };
    let is_below = |path: &&PathBuf| {
        listener
            .path
            .as_ref()
            .is_none_or(|root| path.starts_with(root))
    };
    all.iter().filter(is_below).collect()
}

fn cids(running: &[&Running]) -> Finding {
    let has = |it: &&&Running| {
        it.devices
            .as_ref()
            .is_ok_and(|devices| devices.cid.is_some())
    };
    let without: Vec<String> = running
        .iter()
        .filter(|it| !has(it))
        .map(|it| it.name.clone())
        .collect();
    if running.is_empty() {
        Finding::skipped(GUESTS, "no domain is on that could have a vsock device")
    } else if without.is_empty() {
        Finding::ok(
            GUESTS,
            format!(
                "domains that are on: {}; all have a vsock device",
                running.len()
            ),
        )
    } else {
        Finding::warning(
            GUESTS,
            format!("domains without a vsock device: {}", some_of(&without)),
            "give them <vsock model='virtio'><cid auto='yes'/></vsock> and start them anew",
        )
    }
}

#[cfg(test)]
mod tests {
    use fence_doctor::Verdict;

    use super::*;

    fn domain(name: &str, devices: Devices) -> Running {
        Running {
            name: name.to_owned(),
            devices: Ok(devices),
        }
    }

    fn listener(mode: SerialMode, path: Option<&str>) -> SerialSettings {
        SerialSettings {
            uri: None,
            path: path.map(Into::into),
            mode,
        }
    }

    #[test]
    fn hypervisors_answer_refuse_or_hang() {
        let open = Hypervisor::Open {
            domains: 0,
            running: Vec::new(),
        };
        assert_eq!(
            hypervisor("qemu:///system", &Ok(open.clone())).verdict,
            Verdict::Ok
        );
        assert_eq!(
            hypervisor("qemu:///session", &Ok(open)).verdict,
            Verdict::Warning
        );
        let problem = |answer| {
            let finding = hypervisor("qemu:///system", &answer);
            assert_eq!(finding.verdict, Verdict::Problem);
            finding.cure.unwrap()
        };
        assert!(problem(Ok(Hypervisor::ReadOnly("x".into()))).contains("group libvirt"));
        let refused = "Failed to connect socket: Connection refused";
        assert!(problem(Ok(Hypervisor::Closed(refused.into()))).contains("systemctl"));
        let denied = "Failed to connect socket to '/x': Permission denied";
        assert!(problem(Ok(Hypervisor::Closed(denied.into()))).contains("group libvirt"));
        assert!(problem(Err("no answer in 5 s".into())).contains("hangs"));
    }

    #[test]
    fn domains_need_a_line_of_the_mode_below_the_path() {
        let with = Devices {
            serial: vec!["/dev/null".into()],
            ..Devices::default()
        };
        let vm = domain("vm", with.clone());
        let verdict = |mode, path| lines(&listener(mode, path), &[&vm]).verdict;
        assert_eq!(verdict(SerialMode::Serial, None), Verdict::Ok);
        assert_eq!(verdict(SerialMode::Serial, Some("/dev")), Verdict::Ok);
        assert_eq!(verdict(SerialMode::Serial, Some("/run")), Verdict::Warning);
        assert_eq!(verdict(SerialMode::Vmchannel, None), Verdict::Warning);
        let gone = Devices {
            serial: vec!["/nonexistent".into()],
            ..Devices::default()
        };
        let gone = domain("gone", gone);
        let finding = lines(&listener(SerialMode::Serial, None), &[&gone]);
        assert!(finding.found.contains("/nonexistent"), "{finding:?}");
        let none = lines(&listener(SerialMode::Serial, None), &[]);
        assert_eq!(none.verdict, Verdict::Skipped);
    }

    #[test]
    fn domains_need_a_vsock_device_with_a_number_and_odd_names_are_harmless() {
        let with = domain(
            "a",
            Devices {
                cid: Some(3),
                ..Devices::default()
            },
        );
        let without = domain("b\u{1b}[31m\n", Devices::default());
        assert_eq!(cids(&[&with]).verdict, Verdict::Ok);
        let finding = cids(&[&with, &without]);
        assert_eq!(finding.verdict, Verdict::Warning);
        assert!(finding.found.ends_with("b?[31m"), "{:?}", finding.found);
        assert_eq!(cids(&[]).verdict, Verdict::Skipped);
    }

    #[test]
    fn test_driver_answers_and_nonsense_does_not() {
        assert!(matches!(
            ask("test:///default"),
            Hypervisor::Open { domains: 1, .. }
        ));
        assert!(matches!(ask("nonsense:///x"), Hypervisor::Closed(_)));
    }
}
