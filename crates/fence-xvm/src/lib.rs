//! The fencing agents `fence_xvm` and `fence_virt`: what runs inside a guest and asks its hosts.
//!
//! What is here: the table of options, reading and checking what the caller gave, the sockets, and
//! what is said at the end. What is not here: the protocol, which is
//! [`fence_proto::agent`].
//!
//! The way through: [`input`] or [`stdin`] → [`settings::plan`] → [`net::ask`] →
//! [`outcome::outcome`].

mod check;
pub mod console;
pub mod input;
pub mod key_file;
pub mod listing;
pub mod metadata;
mod misread;
pub mod net;
pub mod options;
pub mod outcome;
pub mod role;
pub mod serial_params;
pub mod settings;
pub mod stdin;
pub mod target;
pub mod text;
pub mod usage;
pub mod value;

use std::ffi::OsString;
use std::io::{self, Read};
use std::process::ExitCode;

use fence_proto::agent::serial::SerialConfig;
use fence_proto::agent::{AgentConfig, Credentials};
use fence_proto::{Action, HashAlgorithm, Key};

use console::{Console, Severity};
use input::{Input, InputError};
use role::Role;
use settings::{Line, Mode, Network, Plan, Settings};

/// The whole program: arguments in, exit code out.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut args = args.into_iter();
    let role = Role::from_program(args.next().as_deref());
    let args: Vec<OsString> = args.collect();
    let console = Console::new(role);
    leave_no_core();
    match go(role, args, console) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            console.complain(&error);
            console.log(Severity::Error, &error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Its memory holds the key. An error costs nothing but that.
fn leave_no_core() {
    use nix::sys::resource::{Resource, setrlimit};

    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
}

/// Why the program ended without asking anybody, or could not say what it heard.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Input(#[from] InputError),
    #[error("cannot read options from stdin: {0}")]
    Stdin(io::Error),
    #[error(transparent)]
    Key(#[from] key_file::KeyFileError),
    #[error(transparent)]
    KeyMissing(#[from] fence_proto::agent::KeyMissing),
    #[error(transparent)]
    Net(#[from] net::NetError),
    #[error("no random bytes: {0}")]
    Random(#[from] getrandom::Error),
    #[error("cannot write the result: {0}")]
    Stdout(io::Error),
}

fn go(role: Role, args: Vec<OsString>, console: Console) -> Result<u8, Error> {
    let input = if args.is_empty() {
        read_stdin(role, console)?
    } else {
        input::from_command_line(role, args)?
    };
    let text = match settings::plan(role, &input)? {
        Plan::Usage => usage::usage(role),
        Plan::Version => format!("{} {}\n", role.name(), env!("CARGO_PKG_VERSION")),
        Plan::Manual => usage::manual(role),
        Plan::Metadata => metadata::metadata(role),
        Plan::Validate(settings) => return validate(&settings, console),
        Plan::Check { settings, json } => return check::run(role, &settings, json, console),
        Plan::Ask(action, settings) => {
            let console = console.with_debug(settings.debug);
            return ask(action, &settings, console);
        }
    };
    console.result(&text).map_err(Error::Stdout)?;
    Ok(0)
}

fn read_stdin(role: Role, console: Console) -> Result<Input, Error> {
    let mut bytes = Vec::new();
    // One byte more than allowed shows that there is more.
    let limit = u64::try_from(stdin::MAX_INPUT)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    io::stdin()
        .lock()
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(Error::Stdin)?;
    let parsed = stdin::parse_stdin(role, &bytes)?;
    for note in parsed.skipped {
        console.complain(note);
    }
    Ok(parsed.input)
}

/// The options are good already; a key file that was named must be, too (row L32).
fn validate(settings: &Settings, console: Console) -> Result<u8, Error> {
    if let Mode::Line(Line::Serial { device, .. }) = &settings.mode {
        net::check_device(device)?;
    }
    if settings.key_file_given && needs_key(settings) {
        let key_file = key_file::read(&settings.key_file)?;
        if let Some(warning) = key_file.warning {
            console.complain(warning);
        }
    }
    Ok(0)
}

fn needs_key(settings: &Settings) -> bool {
    let line = matches!(settings.mode, Mode::Line(_));
    !line && (settings.hash != HashAlgorithm::None || settings.auth != HashAlgorithm::None)
}

/// What is asked, for the transport it is asked over.
enum Asking {
    Network(Network, Box<AgentConfig>),
    Line(Line, SerialConfig),
}

fn prepare(action: Action, settings: &Settings, console: Console) -> Result<Asking, Error> {
    let domain = settings.domain.clone();
    let (uuid_flag, timeout) = (settings.use_uuid, settings.timeout);
    let seqno = getrandom::u32()?;
    let network = match settings.mode.clone() {
        Mode::Network(network) => network,
        Mode::Line(line) => {
            let settle = net::settle(&line);
            let config = SerialConfig {
                action,
                domain,
                uuid_flag,
                seqno,
                settle,
                timeout,
            };
            return Ok(Asking::Line(line, config));
        }
    };
    let key = read_key(settings, console)?;
    let config = AgentConfig {
        transport: net::transport(&network),
        action,
        domain,
        uuid_flag,
        credentials: Credentials::new(key, settings.hash, settings.auth)?,
        timeout,
        seqno,
    };
    Ok(Asking::Network(network, Box::new(config)))
}

fn ask(action: Action, settings: &Settings, console: Console) -> Result<u8, Error> {
    console.debug(
        1,
        format_args!("{}, {settings}", outcome::subject(action, settings)),
    );
    let asking = prepare(action, settings, console)?;
    // Not before questions (row F15), and not part of the time-out, as in the original.
    if action.changes_state() && !settings.delay.is_zero() {
        console.debug(
            1,
            format_args!("waiting {} s first", settings.delay.as_secs()),
        );
        std::thread::sleep(settings.delay);
    }
    let attempt = match asking {
        Asking::Network(network, config) => net::ask(*config, &network, console)?,
        Asking::Line(line, config) => net::ask_line(config, &line, console)?,
    };
    let outcome = outcome::outcome(action, settings, &attempt);
    console.result(&outcome.result).map_err(Error::Stdout)?;
    if let Some(warning) = &outcome.warning {
        console.complain(warning);
    }
    match &outcome.complaint {
        Some(complaint) => {
            console.complain(complaint);
            console.log(Severity::Error, complaint);
        }
        None if action.changes_state() => {
            let what = outcome::subject(action, settings);
            console.log(Severity::Notice, &format!("{what} is done"));
        }
        None => {}
    }
    Ok(outcome.code)
}

fn read_key(settings: &Settings, console: Console) -> Result<Option<Key>, Error> {
    if !needs_key(settings) {
        return Ok(None);
    }
    let key_file = key_file::read(&settings.key_file)?;
    if let Some(warning) = key_file.warning {
        console.debug(1, format_args!("{warning}"));
    }
    Ok(Some(key_file.key))
}
