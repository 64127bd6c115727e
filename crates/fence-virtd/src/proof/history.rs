//! What the history of pacemaker's fencer proves: pure, from the XML of `stonith_admin --history NODE --verbose`.
//!
//! With `--verbose`, because without it pacemaker 2.1.5 shows one event only, and the oldest of all.

use fence_cluster::seam::{Proof, WallTime};

/// A completion this much ahead of our clock is no rounding: the clocks do not agree.
const AHEAD: u64 = 2;

/// What the history says of `node`: fenced if an `off` or `reboot` of it succeeded and was over at `since` or
/// later. The history tells seconds only, so an event in the second of `since` counts: no host that is
/// switched on is heard of in the same second.
pub(super) fn verdict(xml: &str, node: &str, since: WallTime, now: WallTime) -> Proof {
    match newest(xml, node) {
        Err(why) => Proof::Unknown(why),
        Ok(None) => Proof::NotFenced,
        Ok(Some(event)) if event.second > seconds(now).saturating_add(AHEAD) => {
            Proof::Unknown("the fencer's clock is ahead of ours".to_owned())
        }
        Ok(Some(event)) if event.second >= seconds(since) => Proof::Fenced {
            // Some moment within that second: its end is one that does not contradict `since`.
            at: WallTime(event.second.saturating_mul(1000).saturating_add(999)),
            by: event.by,
        },
        Ok(Some(_)) => Proof::NotFenced,
    }
}

const fn seconds(time: WallTime) -> u64 {
    time.0 / 1000
}

/// A host that was switched off.
struct Fencing {
    /// When that was over, in seconds since the epoch.
    second: u64,
    by: String,
}

/// Whether the fencer has answered at all.
pub(super) fn answers(xml: &str) -> Result<(), String> {
    check_status(&document(xml)?.root_element())
}

fn document(xml: &str) -> Result<roxmltree::Document<'_>, String> {
    roxmltree::Document::parse(xml)
        .map_err(|error| format!("stonith_admin's answer is no XML: {error}"))
}

fn check_status(result: &roxmltree::Node<'_, '_>) -> Result<(), String> {
    let status = result
        .children()
        .find(|child| child.has_tag_name("status"))
        .ok_or("stonith_admin's answer has no status")?;
    if status.attribute("code") == Some("0") {
        return Ok(());
    }
    let message = status.attribute("message").unwrap_or("no message");
    Err(format!("pacemaker's fencer can't be asked: {message}"))
}

/// The last time that the node was fenced. `Err` if that can't be told.
fn newest(xml: &str, node: &str) -> Result<Option<Fencing>, String> {
    let document = document(xml)?;
    let result = document.root_element();
    check_status(&result)?;
    let events = result
        .descendants()
        .filter(|it| it.has_tag_name("fence_event"));
    let mut newest: Option<Fencing> = None;
    for event in events.filter(|event| is_fencing(event, node)) {
        let completed = event.attribute("completed").unwrap_or_default();
        let second = moment(completed)
            .ok_or_else(|| format!("the fencer's time '{completed}' is not understood"))?;
        if newest.as_ref().is_none_or(|newest| newest.second <= second) {
            newest = Some(Fencing {
                second,
                by: describe(&event, completed),
            });
        }
    }
    Ok(newest)
}

/// Whether it switched the node off, and is over. Unfencing (`on`) proves nothing, nor does what failed or is
/// under way.
fn is_fencing(event: &roxmltree::Node<'_, '_>, node: &str) -> bool {
    let is = |name, value: &str| event.attribute(name) == Some(value);
    let target = event.attribute("target").unwrap_or_default();
    target.eq_ignore_ascii_case(node)
        && (is("action", "off") || is("action", "reboot"))
        && is("status", "success")
}

fn describe(event: &roxmltree::Node<'_, '_>, completed: &str) -> String {
    let get = |name| event.attribute(name).unwrap_or("unknown");
    format!(
        "pacemaker: {} by {} for {}, completed {completed}",
        get("action"),
        get("delegate"),
        get("client")
    )
}

/// Seconds since the epoch of `YYYY-MM-DD HH:MM:SS[.fraction]` and `Z` or an offset, as pacemaker writes it.
fn moment(text: &str) -> Option<u64> {
    let (date, rest) = text.split_at_checked(10)?;
    let rest = rest.strip_prefix([' ', 'T'])?;
    let (clock, zone) = rest.split_at_checked(8)?;
    let fraction = zone.strip_prefix('.');
    let zone = fraction.map_or(zone, |digits| {
        digits.trim_start_matches(|c: char| c.is_ascii_digit())
    });
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = numbers(clock, ':')?;
    let in_range = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    let of_day = hour * 3600 + minute * 60 + second;
    let utc = days(year, month, day) * 86_400 + of_day - offset(zone.trim_start())?;
    in_range.then(|| u64::try_from(utc).ok()).flatten()
}

fn numbers(text: &str, separator: char) -> Option<[i64; 3]> {
    let mut parts = text.split(separator).map(|part| {
        let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse().ok().filter(|_| digits)
    });
    let numbers = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(numbers)
}

/// Seconds east of Greenwich.
fn offset(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let (sign, clock) = match zone.split_at_checked(1)? {
        ("+", clock) => (1, clock),
        ("-", clock) => (-1, clock),
        _ => return None,
    };
    let [hours, minutes, _] = numbers(&format!("{clock}:0"), ':')?;
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, counted in years that begin in March.
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // Recorded from pacemaker 2.1.5 on a cluster of one whose device fences what it is told to.
    const ALL: &str = include_str!("recorded/all.xml");
    const SEVERAL: &str = include_str!("recorded/several.xml");
    const REBOOT: &str = include_str!("recorded/reboot.xml");
    const FAILED: &str = include_str!("recorded/failed.xml");
    const PENDING: &str = include_str!("recorded/pending.xml");
    const ONLY_ON: &str = include_str!("recorded/only-on.xml");
    const UNKNOWN: &str = include_str!("recorded/unknown.xml");
    const NOT_CONNECTED: &str = include_str!("recorded/not-connected.xml");

    /// 2026-11-24 21:06:00 UTC.
    const BASE: u64 = 1_795_554_360;

    fn at(second: u64, millis: u64) -> WallTime {
        WallTime((BASE + second) * 1000 + millis)
    }

    fn fenced(xml: &str, node: &str, since: WallTime) -> bool {
        matches!(verdict(xml, node, since, at(3600, 0)), Proof::Fenced { at, .. } if at >= since)
    }

    #[test]
    fn completed_off_or_reboot_is_proof_if_it_is_not_older_than_the_departure() {
        // Completed at :43, the newest of several.
        assert!(fenced(SEVERAL, "alpha", at(0, 0)));
        assert!(fenced(SEVERAL, "alpha", at(43, 999)));
        assert!(!fenced(SEVERAL, "alpha", at(44, 0)));
        // A reboot at :25 after an off at :21.
        assert!(fenced(REBOOT, "alpha", at(25, 500)));
        assert!(!fenced(REBOOT, "alpha", at(26, 0)));
    }

    #[test]
    fn proof_says_who_did_it_and_when() {
        let Proof::Fenced { at: when, by } = verdict(REBOOT, "alpha", at(25, 500), at(60, 0))
        else {
            panic!("no proof");
        };
        assert_eq!(when, at(25, 999));
        assert_eq!(
            by,
            "pacemaker: reboot by alpha for stonith_admin.54, completed 2026-11-24 21:06:25Z"
        );
    }

    #[test]
    fn only_the_host_itself_counts() {
        assert!(fenced(ALL, "alpha", at(0, 0)) && fenced(ALL, "ALPHA", at(0, 0)));
        for other in ["alph", "alpha2", "beta", ""] {
            assert!(!fenced(ALL, other, at(0, 0)), "{other}");
        }
    }

    #[test]
    fn on_failed_pending_and_unknown_are_no_proof() {
        for (xml, node) in [
            (ONLY_ON, "gamma"),
            (ALL, "gamma"),
            (FAILED, "bad1"),
            (ALL, "bad1"),
            (PENDING, "slow1"),
            (UNKNOWN, "nosuchnode"),
        ] {
            let now = at(3600, 0);
            assert_eq!(
                verdict(xml, node, at(0, 0), now),
                Proof::NotFenced,
                "{node}"
            );
        }
    }

    #[test]
    fn fencer_that_can_not_be_asked_is_unknown() {
        let Proof::Unknown(why) = verdict(NOT_CONNECTED, "slow1", at(0, 0), at(60, 0)) else {
            panic!("known");
        };
        assert!(why.contains("Not connected"), "{why}");
    }

    #[test]
    fn what_is_not_understood_is_unknown() {
        let cut = SEVERAL.get(..300).unwrap();
        let no_status = SEVERAL.replace("<status code=\"0\" message=\"OK\"/>", "");
        let odd_time = SEVERAL.replace("21:06:43Z", "soon");
        let bomb = format!("<!DOCTYPE a [<!ENTITY b \"c\">]>{SEVERAL}");
        for xml in ["", "no XML", cut, &no_status, &odd_time, &bomb] {
            let proof = verdict(xml, "alpha", at(0, 0), at(60, 0));
            assert!(matches!(proof, Proof::Unknown(_)), "{xml}: {proof:?}");
        }
    }

    #[test]
    fn fencer_whose_clock_is_ahead_proves_nothing() {
        assert!(matches!(
            verdict(SEVERAL, "alpha", at(0, 0), at(40, 0)),
            Proof::Unknown(_)
        ));
        assert!(matches!(
            verdict(SEVERAL, "alpha", at(0, 0), at(41, 0)),
            Proof::Fenced { .. }
        ));
    }

    proptest! {
        #[test]
        fn whatever_the_fencer_says_nothing_panics_and_little_is_a_proof(
            text in "\\PC{0,200}",
            completed in "[0-9TZ:. +-]{0,30}",
            cut in 0..ALL.len() - "</pacemaker-result>\n".len(),
        ) {
            let _ = moment(&completed);
            let cut = ALL.floor_char_boundary(cut);
            let odd = ALL.replace("2026-11-24 21:06:43Z", &completed);
            for xml in [&*text, &ALL[..cut], &odd] {
                let proof = verdict(xml, "alpha", at(43, 0), at(60, 0));
                let good = xml == odd && moment(&completed).is_some_and(|it| it >= BASE + 43);
                prop_assert!(good || !matches!(proof, Proof::Fenced { .. }), "{xml}: {proof:?}");
            }
        }
    }

    #[test]
    fn times_are_read_in_every_form_that_pacemaker_has() {
        for (text, second) in [
            ("1970-01-01 00:00:00Z", Some(0)),
            ("2000-02-29 12:00:00Z", Some(951_825_600)),
            ("2026-11-24 21:06:43Z", Some(BASE + 43)),
            ("2026-11-24 21:06:43.654321Z", Some(BASE + 43)),
            ("2026-11-24T22:06:43+01:00", Some(BASE + 43)),
            ("2026-11-24 16:36:43 -04:30", Some(BASE + 43)),
            ("2026-11-24 21:06:43", None),
            ("2026-11-24 21:06Z", None),
            ("2026-13-24 21:06:43Z", None),
            ("2026-11-24 25:06:43Z", None),
            ("2026-11-24 2+:06:43Z", None),
            ("24 Nov 2026 21:06:43", None),
            ("1969-12-31 23:59:59Z", None),
            ("", None),
        ] {
            assert_eq!(moment(text), second, "{text}");
        }
    }
}
