//! What a verdict means to the caller: exit code, text, log line.
//!
//! Exit codes are those of protocol.md section 10: 0 only for success (status: on; a whole list),
//! 2 for status off, the reply byte otherwise, 1 for everything that has no result.

use fence_proto::agent::{Failure, Verdict};
use fence_proto::{Action, Family, Reason, Reply};

use crate::listing;
use crate::net::Attempt;
use crate::settings::{Line, Mode, Multicast, Network, Settings};

/// What to say, and how to exit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The exit code.
    pub code: u8,
    /// The result, for stdout.
    pub result: String,
    /// What went wrong, for stderr and the log.
    pub complaint: Option<String>,
    /// What may go wrong in somebody else's hands, for stderr.
    pub warning: Option<String>,
}

impl Outcome {
    fn success(result: String) -> Self {
        Self {
            code: 0,
            result,
            complaint: None,
            warning: None,
        }
    }

    fn failed(code: u8, complaint: String) -> Self {
        Self {
            code,
            result: String::new(),
            complaint: Some(complaint),
            warning: None,
        }
    }
}

/// Puts an attempt into words.
#[must_use]
pub fn outcome(action: Action, settings: &Settings, attempt: &Attempt) -> Outcome {
    let what = subject(action, settings);
    match &attempt.verdict {
        Verdict::Listed(entries) => Outcome {
            warning: listing::unfit(entries).map(|names| format!("{what}: {names}")),
            ..Outcome::success(listing::lines(entries, &settings.list))
        },
        Verdict::Replied(reply) => replied(action, *reply, &what),
        Verdict::Failed(failure) => {
            let why = failed(*failure, settings, attempt);
            Outcome::failed(1, format!("{what}: no result: {why}"))
        }
    }
}

/// The action and its domain, for messages.
#[must_use]
pub fn subject(action: Action, settings: &Settings) -> String {
    if settings.domain.is_empty() {
        action.name().to_owned()
    } else {
        format!("{action} of domain '{}'", settings.domain)
    }
}

fn replied(action: Action, reply: Reply, what: &str) -> Outcome {
    let status = action == Action::Status;
    match reply {
        Reply::Success if status => Outcome::success("Status: ON\n".to_owned()),
        Reply::Success => Outcome::success(String::new()),
        Reply::Off if status => Outcome {
            code: 2,
            result: "Status: OFF\n".to_owned(),
            complaint: None,
            warning: None,
        },
        Reply::Failure => Outcome::failed(1, format!("{what} failed; the host's log says why")),
        Reply::PermissionDenied => Outcome::failed(
            3,
            format!("{what}: permission denied; the host's groups do not allow it to this guest"),
        ),
        other => {
            // Success has been dealt with above, so the byte is not 0.
            let byte = other.to_wire().max(1);
            Outcome::failed(
                byte,
                format!("{what} failed: unknown reply {byte} of the host"),
            )
        }
    }
}

fn failed(failure: Failure, settings: &Settings, attempt: &Attempt) -> String {
    match failure {
        Failure::TimedOut => timed_out(settings, attempt),
        Failure::NotConnected => match &settings.mode {
            Mode::Network(_) => "no connection to the host".to_owned(),
            Mode::Line(line) => format!("the {line} was closed before the request was sent"),
        },
        Failure::NeverQuiet => format!(
            "the {} never falls silent: who else writes to it at the host's end?",
            settings.mode
        ),
        Failure::Dropped(Reason::BadResponse) => format!(
            "the host does not prove that it has our key; is {} the host's key, and auth {} the host's?",
            settings.key_file.display(),
            settings.auth
        ),
        Failure::Dropped(reason) => format!("the peer is not a host of ours ({reason})"),
        Failure::ClosedUnproven => format!(
            "the host closed the connection before it authenticated; is {} the host's key, hash {} strong enough for it, and auth {} the host's?",
            settings.key_file.display(),
            settings.hash,
            settings.auth
        ),
        Failure::ClosedWithoutReply => {
            "the host closed the connection without a reply; its log says why".to_owned()
        }
        Failure::ListCut => "the list ended in the middle".to_owned(),
        Failure::ListUnfinished => {
            let seconds = settings.timeout.as_secs();
            format!("the list did not end within {seconds} s: allow it more with -t")
        }
        Failure::ListTooLong => "the list has no end".to_owned(),
        Failure::ListMissing => "the host sent no list".to_owned(),
        Failure::ListUnexpected => "the host sent a list instead of a reply".to_owned(),
    }
}

/// What was tried in vain, and the likeliest cure.
fn timed_out(settings: &Settings, attempt: &Attempt) -> String {
    let seconds = settings.timeout.as_secs();
    let tally = attempt.tally;
    let multicast = match &settings.mode {
        Mode::Network(Network::Multicast(multicast)) => multicast,
        Mode::Network(_) => return format!("the host did not answer within {seconds} s"),
        Mode::Line(line) => return no_answer(line, seconds, attempt),
    };
    let (group, port) = (multicast.group, multicast.port);
    if attempt.addresses == 0 {
        let error = attempt
            .send_error
            .clone()
            .unwrap_or_else(|| no_address(multicast));
        return format!(
            "no request could be sent to {group} port {port} within {seconds} s: {error}"
        );
    }
    let key = settings.key_file.display();
    let callback = attempt.port.unwrap_or(port);
    let (rounds, addresses) = (tally.rounds, attempt.addresses);
    let asked = format!(
        "asked {group} port {port} {rounds} times from {addresses} addresses in {seconds} s"
    );
    if tally.without_reply > 0 {
        return format!("{asked}; a host called back, but ended without a reply: its log says why");
    }
    if tally.unproven > 0 {
        let count = tally.unproven;
        let auth = settings.auth;
        return format!(
            "{asked}; {count} call-backs did not prove that they have our key: is {key} the hosts' key, and auth {auth} the hosts'?"
        );
    }
    if tally.connections > 0 {
        return format!("{asked}; a call-back came, but no answer on it within the time-out");
    }
    format!(
        "{asked}, and nobody called back: does fence_virtd run and listen there, is {key} its key, and does the firewall let call-backs in on TCP port {callback}?"
    )
}

fn no_answer(line: &Line, seconds: u64, attempt: &Attempt) -> String {
    let silent = format!("the host did not answer on the {line} within {seconds} s");
    if attempt.tally.stale > 0 {
        return format!("{silent}, only to other requests; do two agents use it at once?");
    }
    format!(
        "{silent}: does fence_virtd run there with a listener for it, and is this device a UNIX socket there that it may use?"
    )
}

fn no_address(multicast: &Multicast) -> String {
    let family = Family::of(multicast.group).name();
    multicast.interface.as_ref().map_or_else(
        || format!("no interface that is up has an {family} address"),
        |interface| format!("interface {interface} is down or has no {family} address"),
    )
}

#[cfg(test)]
#[path = "outcome_tests.rs"]
mod tests;
