//! The configuration file and what the command line adds to it: read at the start, and anew on SIGHUP.

use std::path::PathBuf;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;

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

    async fn load_apart(&self) -> Result<Loaded, String> {
        let source = self.clone();
        let loading = timeout(READ_WITHIN, spawn_blocking(move || source.load()));
        match loading.await {
            Ok(Ok(loaded)) => loaded.map_err(|error| error.to_string()),
            Ok(Err(error)) => Err(format!("reading the configuration was broken off: {error}")),
            Err(_) => Err(format!(
                "reading {} and its keys takes too long",
                self.options.config.display()
            )),
        }
    }
}

/// What the daemon goes by, and where it has that from.
#[derive(Debug)]
pub struct Current {
    source: Source,
    settings: Settings,
}

impl Current {
    /// The settings that the daemon was started with.
    #[must_use]
    pub const fn new(source: Source, settings: Settings) -> Self {
        Self { source, settings }
    }

    /// The settings in force.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Reads the file anew and puts it in force, as a whole or not at all. What takes a restart stays, with a warning.
    ///
    /// # Errors
    /// Why everything stays as it was.
    pub async fn renew(&mut self, supervisor: &mut Supervisor) -> Result<(), String> {
        let Loaded { settings, warnings } = self.source.load_apart().await?;
        let changed = supervisor.change(&settings.listeners).await;
        let changed = changed.map_err(|error| error.to_string())?;
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

    /// The keys whose values have changed and can't be put in force.
    fn fixed(&self, new: &Settings) -> Vec<&'static str> {
        let mut keys = self.settings.backend.differences(&new.backend);
        if self.settings.daemon.foreground != new.daemon.foreground {
            keys.push("foreground");
        }
        keys
    }
}
