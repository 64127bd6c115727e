//! The command line: the original's options (section 9), each with a long form too.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, Command, value_parser};

use crate::logging::Filter;

/// Read if `-f` names no other.
pub const DEFAULT_CONFIG: &str = "/etc/fence_virt.conf";

/// Written in the background if `-p` names no other.
pub const DEFAULT_PID_FILE: &str = "/var/run/fence_virtd.pid";

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Run the daemon.
    Run(Options),
    /// `-l`: print what can be configured, and the listeners that this file configures.
    ListPlugins(PathBuf),
    /// `--test-config`: say what is wrong or odd about this file and its key files, as a start would.
    TestConfig(PathBuf),
    /// `-c`: configure this file interactively.
    Configure(PathBuf),
    /// `--check`: look for what would make fencing fail.
    Check {
        /// The configuration file.
        config: PathBuf,
        /// `--json`: for programs.
        json: bool,
    },
}

/// Options of a run. What is absent is taken from the configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// `-f`: the configuration file.
    pub config: PathBuf,
    /// `-F`: stay in the foreground and log to standard error.
    pub foreground: bool,
    /// `-d`: the debug level, 0 to 99, or a filter.
    pub debug: Option<Filter>,
    /// `-w`: wait for what is not available yet instead of giving up.
    pub wait: bool,
    /// `-p`: the file that holds the process id.
    pub pid_file: Option<PathBuf>,
}

/// Reads the command line. What clap returns as an error prints itself: help, version and misuse.
///
/// # Errors
/// [`clap::Error`].
pub fn parse<I>(arguments: I) -> Result<Request, clap::Error>
where
    I: IntoIterator,
    I::Item: Into<OsString> + Clone,
{
    let matches = command().try_get_matches_from(arguments)?;
    let path = |name| matches.get_one::<PathBuf>(name).cloned();
    let config = path("config").unwrap_or_else(|| DEFAULT_CONFIG.into());
    if matches.get_flag("list") {
        return Ok(Request::ListPlugins(config));
    }
    if matches.get_flag("configure") {
        return Ok(Request::Configure(config));
    }
    if matches.get_flag("check") {
        let json = matches.get_flag("json");
        return Ok(Request::Check { config, json });
    }
    if matches.get_flag("test-config") {
        return Ok(Request::TestConfig(config));
    }
    Ok(Request::Run(Options {
        config,
        foreground: matches.get_flag("foreground"),
        debug: matches.get_one("debug").cloned(),
        wait: matches.get_flag("wait"),
        pid_file: path("pid-file"),
    }))
}

/// The table of options. The manual page and the completions are made of it, too.
#[must_use]
pub fn command() -> Command {
    Command::new("fence_virtd")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Fencing host daemon for virtual machines")
        .disable_version_flag(true)
        .arg(flag(
            "foreground",
            'F',
            "Stay in the foreground and log to standard error",
        ))
        .arg(
            value("config", 'f', "FILE", "Read this configuration file")
                .default_value(DEFAULT_CONFIG)
                .value_parser(value_parser!(PathBuf)),
        )
        .arg(
            value(
                "debug",
                'd',
                "LEVEL",
                "Debug level: 0 info, 1 to 9 debug, 10 to 99 trace; or a filter: info,libvirt=debug",
            )
            .value_parser(value_parser!(Filter)),
        )
        .arg(flag("configure", 'c', "Configure interactively"))
        .arg(flag(
            "list",
            'l',
            "List the listeners and backends, and the listeners of the configuration",
        ))
        .arg(flag(
            "wait",
            'w',
            "Wait for interfaces, addresses and hypervisors that are not there",
        ))
        .arg(
            value(
                "pid-file",
                'p',
                "FILE",
                "Record the process id in this file",
            )
            .value_parser(value_parser!(PathBuf)),
        )
        .arg(
            Arg::new("test-config")
                .long("test-config")
                .action(ArgAction::SetTrue)
                .help("Check the configuration file and its keys; 0 usable, 2 not"),
        )
        .arg(
            Arg::new("version")
                .short('V')
                .long("version")
                .action(ArgAction::Version)
                .help("Print the version"),
        )
        .args(checking())
}

/// What `--check` takes.
fn checking() -> [Arg; 2] {
    [
        Arg::new("check")
            .long("check")
            .action(ArgAction::SetTrue)
            .conflicts_with_all(["configure", "list", "test-config"])
            .help("Look for what would make fencing fail; exit code 0 fine, 1 problems, 2 warnings only"),
        Arg::new("json")
            .long("json")
            .action(ArgAction::SetTrue)
            .requires("check")
            .help("With --check: print JSON"),
    ]
}

fn flag(name: &'static str, short: char, help: &'static str) -> Arg {
    Arg::new(name)
        .short(short)
        .long(name)
        .action(ArgAction::SetTrue)
        .help(help)
}

fn value(name: &'static str, short: char, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .short(short)
        .long(name)
        .value_name(value)
        .help(help)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(arguments: &[&str]) -> Options {
        let all = ["fence_virtd"].iter().chain(arguments);
        match parse(all).unwrap() {
            Request::Run(options) => options,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn options_of_the_original_are_taken() {
        let options = run(&["-F", "-f", "/tmp/x", "-d99", "-w", "-p", "/tmp/pid"]);
        assert_eq!(options.config, PathBuf::from("/tmp/x"));
        assert!(options.foreground && options.wait);
        assert_eq!(options.debug, Some("99".parse().unwrap()));
        let filtered = run(&["-d", "warn,libvirt=debug"]).debug.unwrap();
        assert_eq!(filtered.to_string(), "warn,libvirt=debug");
        assert_eq!(options.pid_file, Some("/tmp/pid".into()));
        assert_eq!(run(&[]).config, PathBuf::from(DEFAULT_CONFIG));
    }

    #[test]
    fn long_forms_are_the_same() {
        let long = [
            "--foreground",
            "--config=/tmp/x",
            "--debug",
            "5",
            "--wait",
            "--pid-file=/p",
        ];
        assert_eq!(
            run(&long),
            run(&["-F", "-f", "/tmp/x", "-d", "5", "-w", "-p", "/p"])
        );
    }

    #[test]
    fn other_requests_are_known() {
        let list = |path: &str| Request::ListPlugins(path.into());
        assert_eq!(parse(["fence_virtd", "-l"]).unwrap(), list(DEFAULT_CONFIG));
        assert_eq!(parse(["fence_virtd", "-l", "-f", "x"]).unwrap(), list("x"));
        // With what the service manager starts the daemon with.
        let test = parse(["fence_virtd", "--test-config", "-w", "-f", "x"]).unwrap();
        assert_eq!(test, Request::TestConfig("x".into()));
        let configure = |path: &str| Request::Configure(path.into());
        let parsed = |arguments: &[&str]| parse(["fence_virtd"].iter().chain(arguments)).unwrap();
        assert_eq!(parsed(&["-c"]), configure(DEFAULT_CONFIG));
        assert_eq!(parsed(&["-c", "-f", "x"]), configure("x"));
        let check = |path: &str, json| Request::Check {
            config: path.into(),
            json,
        };
        assert_eq!(parsed(&["--check"]), check(DEFAULT_CONFIG, false));
        assert_eq!(parsed(&["--check", "--json", "-fx"]), check("x", true));
    }

    #[test]
    fn misuse_is_an_error() {
        for bad in [
            &["-x"][..],
            &["-d", "100"],
            &["-d", "many"],
            &["-f"],
            &["stray"],
            &["--json"],
            &["--check", "-c"],
        ] {
            assert!(parse(["fence_virtd"].iter().chain(bad)).is_err(), "{bad:?}");
        }
    }
}
