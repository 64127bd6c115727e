//! Why a case failed.

use core::fmt;

/// What a case comes to.
pub type Verdict = Result<(), Failure>;

/// A failed case or a lab that could not be set up: text for the person who reads the report.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    /// A failure with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The same failure with the place it happened in front.
    #[must_use]
    pub fn at(self, place: impl fmt::Display) -> Self {
        Self(format!("{place}: {}", self.0))
    }

    /// The same failure with more below it, such as the end of a log.
    #[must_use]
    pub fn with(mut self, more: &str) -> Self {
        self.0.push('\n');
        self.0.push_str(more.trim_end());
        self
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

// Not `Error` itself: that is what makes `?` work on every error there is.
impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// Ends the case with a failure.
#[macro_export]
macro_rules! fail {
    ($($message:tt)+) => {
        return Err($crate::Failure::new(format!($($message)+)))
    };
}

/// Ends the case with a failure unless something holds.
#[macro_export]
macro_rules! ensure {
    ($holds:expr, $($message:tt)+) => {
        if !$holds {
            $crate::fail!($($message)+);
        }
    };
}
