//! fence_virtd: reads its command line and configuration, then runs.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use fence_doctor::render;
use fence_virtd::background::{Detached, Readiness, detach, leave_no_core};
use fence_virtd::cli::{self, DEFAULT_CONFIG, DEFAULT_PID_FILE, Options, Request};
use fence_virtd::config::{self, Loaded, Wanted, check_answer};
use fence_virtd::logging::Filter;
use fence_virtd::pid_file::PidFile;
use fence_virtd::reload::{Current, Source};
use fence_virtd::wizard::{self, Machine};
use fence_virtd::{check, daemon, links, logging, memory};

/// Exit code for a command line or configuration that cannot be used.
const USAGE: u8 = 2;

/// Exit code for everything else that goes wrong.
const FAILURE: u8 = 1;

fn main() -> ExitCode {
    memory::keep_small();
    if let Err(error) = leave_no_core() {
        say(&format!("core files cannot be forbidden: {error}"));
    }
    let code = obey();
    logging::flush();
    code
}

fn obey() -> ExitCode {
    let request = match cli::parse(std::env::args_os()) {
        Ok(request) => request,
        Err(error) => {
            // Nothing can be done about a closed terminal.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match request {
        Request::Run(options) => start(options),
        Request::ListPlugins(config) => list(&config),
        Request::TestConfig(config) => test_config(&config),
        Request::Configure(config) => configure(&config),
        Request::Check { config, json } => {
            let report = check::run(&config);
            let text = if json {
                render::json(&report)
            } else {
                render::table(&report)
            };
            print(&text, ExitCode::from(report.exit_code()))
        }
    }
}

/// Says whether a configuration can be used, and what is odd about it. Starts nothing.
fn test_config(path: &Path) -> ExitCode {
    match config::load(path) {
        Ok(loaded) => {
            for warning in loaded.warnings {
                say(&format!("warning: {warning}"));
            }
            ExitCode::SUCCESS
        }
        Err(error) => refuse(&error.to_string()),
    }
}

/// Prints what is built in, and what the configuration makes of it, if there is one.
fn list(path: &Path) -> ExitCode {
    let mut text =
        "Available backends:\n    libvirt\n    cpg\nAvailable listeners:\n    multicast\n    tcp\n    vsock\n    serial\n"
            .to_owned();
    let mut code = ExitCode::SUCCESS;
    match config::listeners(path) {
        Ok(listeners) => {
            text += &format!("Listeners in {}:\n", path.display());
            text.extend(listeners.iter().map(|line| format!("    {line}\n")));
        }
        Err(error) if error.is_missing_file() && path == Path::new(DEFAULT_CONFIG) => {}
        Err(error) => code = refuse(&error.to_string()),
    }
    print(&text, code)
}

/// Prints a result. What nobody could read was not a success.
fn print(text: &str, code: ExitCode) -> ExitCode {
    let mut stdout = std::io::stdout();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    written.map_or(ExitCode::from(FAILURE), |()| code)
}

/// Asks what is needed, and writes the file.
fn configure(path: &Path) -> ExitCode {
    // Without any, the wizard says so.
    let links = links::all().unwrap_or_default();
    // A name may have anything in it; what the file could not have is not offered.
    let is_sane = |link: &links::Link| check_answer(Wanted::Interface, &link.name).is_ok();
    let able = links
        .into_iter()
        .filter(|link| link.multicast && is_sane(link));
    let interfaces = able.map(|link| {
        let addresses = link.addresses.iter().map(ToString::to_string);
        (link.name, addresses.collect())
    });
    let machine = Machine {
        interfaces: interfaces.collect(),
    };
    match wizard::run(path, &machine) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string()),
    }
}

fn start(options: Options) -> ExitCode {
    // Before the working directory changes.
    let source = Source::new(options.clone());
    let Loaded { settings, warnings } = match source.load() {
        Ok(loaded) => loaded,
        Err(error) => return refuse(&error.to_string()),
    };
    let foreground = settings.daemon.foreground;
    let pid_path = options
        .pid_file
        .or_else(|| (!foreground).then(|| DEFAULT_PID_FILE.into()))
        .map(|path| std::path::absolute(&path).unwrap_or(path));
    let readiness = match go_where_wanted(foreground, &settings.daemon.debug) {
        Ok(readiness) => readiness,
        Err(code) => return code,
    };
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let _pid_file = match pid_path.as_deref().map(PidFile::create).transpose() {
        Ok(pid_file) => pid_file,
        Err(error) => return fail(&error.to_string()),
    };
    run(Current::new(source, settings), readiness)
}

/// Into the background, unless the foreground is wanted, with the log that belongs there. The error
/// is the code to exit with.
fn go_where_wanted(foreground: bool, filter: &Filter) -> Result<Readiness, ExitCode> {
    let no_log = |error| fail(&format!("cannot start logging: {error}"));
    if foreground {
        logging::to_stderr(filter).map_err(no_log)?;
        return Ok(Readiness::foreground());
    }
    let readiness = match detach() {
        Ok(Detached::Child(readiness)) => readiness,
        Ok(Detached::Parent(code)) => return Err(ExitCode::from(code)),
        Err(error) => return Err(fail(&format!("cannot go into the background: {error}"))),
    };
    if logging::to_syslog(filter).is_err() {
        // Seen at least until the start is over.
        logging::to_stderr(filter).map_err(no_log)?;
    }
    Ok(readiness)
}

fn run(current: Current, readiness: Readiness) -> ExitCode {
    // One thread runs the event loop. While it asks libvirt something, another one takes over.
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        // More than questions can hang at once, and kept for the next while.
        .max_blocking_threads(2048)
        .thread_keep_alive(Duration::from_secs(60))
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start the event loop: {error}")),
    };
    // On a task, so that the listener runs on the event loop's thread and not on this one.
    let daemon = runtime.spawn(daemon::run(current, readiness));
    let result = runtime.block_on(daemon);
    // Calls to libvirt that hang are not waited for.
    runtime.shutdown_background();
    match result {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => fail(&error.to_string()),
        Err(error) => fail(&format!("the event loop ended: {error}")),
    }
}

/// The command line or the configuration is at fault.
fn refuse(message: &str) -> ExitCode {
    say(message);
    ExitCode::from(USAGE)
}

/// Something else is.
fn fail(message: &str) -> ExitCode {
    say(message);
    ExitCode::from(FAILURE)
}

/// Says it where somebody looks: on the terminal while there is one, and in the log. While lines
/// for standard error are queued, another thread may wait in a write to it; so must not this one.
fn say(message: &str) {
    if logging::is_running() {
        tracing::error!("{message}");
    }
    if !logging::is_stderr() {
        // A terminal that is gone cannot be told.
        let _ = writeln!(std::io::stderr(), "fence_virtd: {message}");
    }
}
