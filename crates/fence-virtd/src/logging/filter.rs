//! What is logged: a debug level of the original's, or a filter by the daemon's parts.

use std::fmt;
use std::str::FromStr;

use tracing_subscriber::filter::{LevelFilter, Targets};

/// The crate whose modules a filter names.
const CRATE: &str = "fence_virtd";

/// The most that a filter may be.
const MAX_LEN: usize = 1024;

/// A level from 0 to 99, or parts and their levels: `info,libvirt=debug,cluster::owner=trace`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(String);

/// Why a text is no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is neither a number from 0 to 99 nor a filter such as info,libvirt=debug (levels: off, error, warn, \
     info, debug, trace)"
)]
pub struct BadFilter(String);

impl Default for Filter {
    fn default() -> Self {
        Self("0".to_owned())
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Filter {
    type Err = BadFilter;

    fn from_str(text: &str) -> Result<Self, BadFilter> {
        let text = text.trim();
        if text.len() <= MAX_LEN && parse(text).is_some() {
            return Ok(Self(text.to_owned()));
        }
        Err(BadFilter(text.chars().take(MAX_LEN).collect()))
    }
}

impl Filter {
    pub(super) fn targets(&self) -> Targets {
        // It was checked when it was made.
        parse(&self.0).unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO))
    }
}

fn parse(text: &str) -> Option<Targets> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let level = text.parse().ok().filter(|level| *level <= 99)?;
        return Some(Targets::new().with_default(of_debug(level)));
    }
    // What is not named is logged as without a filter, so that no fence goes unlogged by mistake.
    let all = Targets::new().with_default(LevelFilter::INFO);
    let mut words = text.split(',').map(str::trim);
    words.try_fold(all, |targets, word| match word.split_once('=') {
        None => Some(targets.with_default(level(word)?)),
        Some((part, word)) => {
            let (part, level) = (part.trim(), level(word.trim())?);
            Some(targets.with_target(module(part)?, level))
        }
    })
}

/// The level that a debug level of the original's stands for.
const fn of_debug(debug: u8) -> LevelFilter {
    match debug {
        0 => LevelFilter::INFO,
        1..=9 => LevelFilter::DEBUG,
        10.. => LevelFilter::TRACE,
    }
}

fn level(word: &str) -> Option<LevelFilter> {
    const LEVELS: [(&str, LevelFilter); 6] = [
        ("off", LevelFilter::OFF),
        ("error", LevelFilter::ERROR),
        ("warn", LevelFilter::WARN),
        ("info", LevelFilter::INFO),
        ("debug", LevelFilter::DEBUG),
        ("trace", LevelFilter::TRACE),
    ];
    let mut levels = LEVELS.iter();
    let found = levels.find(|(name, _)| word.eq_ignore_ascii_case(name));
    found.map(|(_, level)| *level)
}

/// A part of the daemon, by its module's name with or without the crate's.
fn module(part: &str) -> Option<String> {
    let word = |word: &str| {
        let known = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_';
        !word.is_empty() && word.chars().all(known)
    };
    if !part.split("::").all(word) {
        return None;
    }
    let whole = part.split("::").next() == Some(CRATE);
    Some(if whole {
        part.to_owned()
    } else {
        format!("{CRATE}::{part}")
    })
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    fn filter(text: &str) -> Targets {
        text.parse::<Filter>().unwrap().targets()
    }

    #[test]
    fn debug_levels_of_the_original_are_levels() {
        for (debug, level) in [
            ("0", LevelFilter::INFO),
            ("1", LevelFilter::DEBUG),
            ("5", LevelFilter::DEBUG),
            ("10", LevelFilter::TRACE),
            ("99", LevelFilter::TRACE),
        ] {
            assert_eq!(filter(debug).default_level(), Some(level), "{debug}");
        }
        assert_eq!(Filter::default().targets(), filter("0"));
    }

    #[test]
    fn parts_have_levels_of_their_own_and_the_rest_stays() {
        let targets = filter("libvirt=trace, cluster::owner=DEBUG");
        assert!(targets.would_enable("fence_virtd::libvirt::act", &Level::TRACE));
        assert!(targets.would_enable("fence_virtd::cluster::owner", &Level::DEBUG));
        assert!(!targets.would_enable("fence_virtd::cluster", &Level::DEBUG));
        assert!(targets.would_enable("fence_virtd::session", &Level::INFO));
        assert!(!targets.would_enable("fence_virtd::session", &Level::DEBUG));
        let quiet = filter("warn,fence_virtd::session=info");
        assert!(quiet.would_enable("fence_virtd::session", &Level::INFO));
        assert!(!quiet.would_enable("fence_virtd::libvirt", &Level::INFO));
    }

    #[test]
    fn what_is_no_filter_is_refused_with_an_example() {
        for bad in [
            "",
            "100",
            "-1",
            "many",
            "5,libvirt=debug",
            "libvirt=loud",
            "=debug",
            "a::=info",
            "a b=info",
            ",",
            "libvirt=",
            "3.5",
        ] {
            let error = bad.parse::<Filter>().unwrap_err().to_string();
            assert!(error.contains("info,libvirt=debug"), "{bad}: {error}");
        }
        assert!("libvirt=debug,".repeat(100).parse::<Filter>().is_err());
    }
}
