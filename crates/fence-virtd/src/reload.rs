//! The configuration file and what the command line adds to it: read at the start, and anew on SIGHUP.

use std::path::PathBuf;
use std::time::Duration;

use crate::apart::{Apart, NotRead};
use crate::cli::Options;
use crate::config::{self, ConfigError, Loaded, Settings};
use crate::logging;
use crate::supervisor::Supervisor;

/// How long reading may take: files may be on a server that does not answer.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// Where settings come from.
#[derive(Debug, Clone)]
pub struct Source {
    options: Options,
    /// What relative names of files are relative to.
    directory: PathBuf,
}

impl Source {
    /// The file that `options` name. Names of files stay what they are when the working directory changes.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            options,
            directory: std::env::current_dir().unwrap_or_default(),
        }
    }

    /// Reads the file and the keys, and puts the command line over it.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        let mut loaded = config::load_from(&self.directory, &self.options.config)?;
        let daemon = &mut loaded.settings.daemon;
        daemon.foreground |= self.options.foreground;
        daemon.wait_for_init |= self.options.wait;
        if let Some(debug) = &self.options.debug {
            daemon.debug = debug.clone();
        }
        Ok(loaded)
    }
}

/// Why everything stays as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRenewed {
    /// What is there can't be used, or can't be read.
    #[error("{0}")]
    Refused(String),
    /// Reading it before took too long, and is still under way. [`Current::due`] says when it is over.
    #[error(
        "reading {} and its keys, begun before, is still under way; they are read once more when that is over",
        config.display()
    )]
    UnderWay {
        /// The file.
        config: PathBuf,
        /// Whether this was not said yet.
        first: bool,
    },
}

/// What the daemon goes by, and where it has that from.
#[derive(Debug)]
pub struct Current {
    source: Source,
    settings: Settings,
    files: Apart<Result<Loaded, ConfigError>>,
}

impl Current {
    /// The settings that the daemon was started with.
    #[must_use]
    pub fn new(source: Source, settings: Settings) -> Self {
        Self {
            source,
            settings,
            files: Apart::default(),
        }
    }

    /// The settings in force.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Reads the file anew and puts it in force, as a whole or not at all. What takes a restart stays, with a warning.
    ///
    /// # Errors
    /// [`NotRenewed`].
    pub async fn renew(&mut self, supervisor: &mut Supervisor) -> Result<(), NotRenewed> {
        let Loaded { settings, warnings } = self.load().await?;
        let changed = supervisor.change(&settings.listeners).await;
        let changed = changed.map_err(|error| NotRenewed::Refused(error.to_string()))?;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        for key in self.fixed(&settings) {
            tracing::warn!(
                "'{key}' has changed, which takes a restart: the daemon goes on with the old value"
            );
        }
        supervisor.may_wait(settings.daemon.wait_for_init);
        logging::set_filter(&settings.daemon.debug);
        // What stays is compared with the next file as well.
        let backend = self.settings.backend.clone();
        let foreground = self.settings.daemon.foreground;
        self.settings = settings;
        self.settings.backend = backend;
        self.settings.daemon.foreground = foreground;
        tracing::info!("the configuration was read anew: {changed}");
        Ok(())
    }

    /// Resolves when the files that could not be read while reading them hung are to be read. Cancel-safe.
    pub async fn due(&mut self) {
        self.files.due().await;
    }

    async fn load(&mut self) -> Result<Loaded, NotRenewed> {
        let source = self.source.clone();
        let loaded = self.files.read(READ_WITHIN, move || source.load()).await;
        let config = &self.source.options.config;
        let why = match loaded {
            Ok(Ok(loaded)) => return Ok(loaded),
            Ok(Err(error)) => error.to_string(),
            Err(NotRead::UnderWay { first }) => {
                let config = config.clone();
                return Err(NotRenewed::UnderWay { config, first });
            }
            Err(NotRead::TooLong) => {
                format!("reading {} and its keys takes too long", config.display())
            }
            Err(NotRead::Broken(why)) => format!("reading the configuration was broken off: {why}"),
        };
        Err(NotRenewed::Refused(why))
    }

    /// The keys whose values have changed and can't be put in force.
    fn fixed(&self, new: &Settings) -> Vec<&'static str> {
        let mut keys = self.settings.backend.differences(&new.backend);
        if self.settings.daemon.foreground != new.daemon.foreground {
            keys.push("foreground");
        }
        keys
    }
}
