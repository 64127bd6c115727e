//! Figures, goals, and the page that shows them.

use std::fmt;
use std::fmt::Write as _;

use crate::host::Kind;

/// One thing for each server; what was not measured is absent.
#[derive(Debug, Clone, Default)]
pub(crate) struct PerKind<T> {
    ours: Option<T>,
    c: Option<T>,
    floor: Option<T>,
}

impl<T> PerKind<T> {
    /// Nothing measured.
    pub(crate) const fn empty() -> Self {
        Self {
            ours: None,
            c: None,
            floor: None,
        }
    }

    /// That of one server.
    pub(crate) const fn of(&self, kind: Kind) -> Option<&T> {
        match kind {
            Kind::Ours => self.ours.as_ref(),
            Kind::C => self.c.as_ref(),
            Kind::Floor => self.floor.as_ref(),
        }
    }

    /// The place for that of one server.
    pub(crate) const fn of_mut(&mut self, kind: Kind) -> &mut Option<T> {
        match kind {
            Kind::Ours => &mut self.ours,
            Kind::C => &mut self.c,
            Kind::Floor => &mut self.floor,
        }
    }

    /// Turns each into something else.
    pub(crate) fn map<U>(&self, turn: impl Fn(&T) -> Option<U>) -> PerKind<U> {
        PerKind {
            ours: self.ours.as_ref().and_then(&turn),
            c: self.c.as_ref().and_then(&turn),
            floor: self.floor.as_ref().and_then(&turn),
        }
    }
}

impl<T: Default> PerKind<T> {
    /// That of one server, made if absent.
    pub(crate) fn entry(&mut self, kind: Kind) -> &mut T {
        self.of_mut(kind).get_or_insert_default()
    }
}

/// What a figure counts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unit {
    /// Seconds.
    Time,
    /// Requests in a second.
    Rate,
    /// Bytes.
    Memory,
}

/// One measured value.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    /// In seconds, requests per second or bytes.
    pub(crate) value: f64,
    /// The truth is worse than the value: the measurement was cut off.
    pub(crate) cut_off: bool,
    /// What else there is to say.
    pub(crate) remark: String,
}

impl Figure {
    /// A plain value.
    pub(crate) const fn new(value: f64) -> Self {
        Self {
            value,
            cut_off: false,
            remark: String::new(),
        }
    }

    fn text(&self, unit: Unit) -> String {
        let value = self.value;
        let number = match unit {
            Unit::Time if value < 0.001 => format!("{:.0} µs", value * 1e6),
            Unit::Time if value < 1.0 => format!("{:.2} ms", value * 1e3),
            Unit::Time => format!("{value:.2} s"),
            Unit::Rate => format!("{value:.0}/s"),
            Unit::Memory => format!("{:.1} MiB", value / 1_048_576.0),
        };
        let sign = if self.cut_off { "> " } else { "" };
        let remark = if self.remark.is_empty() {
            String::new()
        } else {
            format!(" ({})", self.remark)
        };
        format!("{sign}{number}{remark}")
    }
}

/// Which side of the limit is good.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sense {
    /// The limit or less.
    AtMost,
    /// The limit or more.
    AtLeast,
}

/// Something to reach.
#[derive(Debug, Clone)]
pub(crate) struct Goal {
    text: String,
    measured: Option<f64>,
    sense: Sense,
    limit: f64,
}

impl Goal {
    /// A value and its limit; the text says what both are.
    pub(crate) fn new(text: &str, measured: Option<f64>, sense: Sense, limit: f64) -> Self {
        Self {
            text: text.to_owned(),
            measured,
            sense,
            limit,
        }
    }

    /// Ours divided by that of another server.
    pub(crate) fn ratio(
        text: &str,
        figures: &PerKind<Figure>,
        other: Kind,
        sense: Sense,
        limit: f64,
    ) -> Self {
        Self::new(text, ratio(figures, other), sense, limit)
    }

    fn reached(&self) -> Option<bool> {
        self.measured.map(|measured| match self.sense {
            Sense::AtMost => measured <= self.limit,
            Sense::AtLeast => measured >= self.limit,
        })
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.reached() {
            Some(true) => "reached",
            Some(false) => "**missed**",
            None => "not measured",
        };
        write!(f, "{}: ", self.text)?;
        if let Some(measured) = self.measured {
            write!(f, "{}, ", short(measured))?;
        }
        f.write_str(verdict)
    }
}

/// One line of the table.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    /// What is measured.
    pub(crate) name: String,
    /// Of how many samples.
    pub(crate) samples: String,
    /// What the figures count.
    pub(crate) unit: Unit,
    /// What was measured.
    pub(crate) figures: PerKind<Figure>,
    /// What ours is to reach.
    pub(crate) goals: Vec<Goal>,
}

impl Line {
    fn write_to(&self, page: &mut String) {
        let cell = |kind| {
            self.figures
                .of(kind)
                .map_or_else(|| "–".to_owned(), |figure| figure.text(self.unit))
        };
        let share = |kind| ratio(&self.figures, kind).map_or_else(|| "–".to_owned(), short);
        let goals: Vec<String> = self.goals.iter().map(Goal::to_string).collect();
        // Writing to a string cannot fail.
        let _infallible = writeln!(
            page,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            self.name,
            cell(Kind::Ours),
            cell(Kind::C),
            cell(Kind::Floor),
            share(Kind::C),
            share(Kind::Floor),
            if goals.is_empty() {
                "–".to_owned()
            } else {
                goals.join("; ")
            },
            self.samples,
        );
    }
}

/// The table of all lines, in Markdown.
pub(crate) fn table(lines: &[Line]) -> String {
    let mut page = String::from(
        "| figure | ours | C | floor | ours / C | ours / floor | to reach | samples |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for line in lines {
        line.write_to(&mut page);
    }
    page
}

/// How many goals were reached, missed, and not measured.
pub(crate) fn tally(lines: &[Line]) -> (usize, usize, usize) {
    let count = |wanted| {
        lines
            .iter()
            .flat_map(|line| &line.goals)
            .filter(|goal| goal.reached() == wanted)
            .count()
    };
    (count(Some(true)), count(Some(false)), count(None))
}

fn ratio(figures: &PerKind<Figure>, other: Kind) -> Option<f64> {
    let ours = figures.of(Kind::Ours)?.value;
    let theirs = figures.of(other)?.value;
    (theirs > 0.0).then(|| ours / theirs)
}

/// Three digits that matter.
fn short(value: f64) -> String {
    if value >= 100.0 || value == 0.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else if value >= 0.1 {
        format!("{value:.2}")
    } else {
        format!("{value:.4}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(ours: f64, c: f64) -> PerKind<Figure> {
        let mut figures = PerKind::empty();
        *figures.of_mut(Kind::Ours) = Some(Figure::new(ours));
        *figures.of_mut(Kind::C) = Some(Figure::new(c));
        figures
    }

    #[test]
    fn a_goal_at_its_limit_is_reached_and_one_beyond_is_missed() {
        let at = |ours| Goal::ratio("x", &figures(ours, 2.0), Kind::C, Sense::AtMost, 0.5);
        assert_eq!(at(1.0).reached(), Some(true));
        assert_eq!(at(1.1).reached(), Some(false));
        assert!(at(1.1).to_string().contains("missed"));
    }

    #[test]
    fn what_was_not_measured_is_neither_reached_nor_missed() {
        let goal = Goal::ratio("x", &figures(1.0, 2.0), Kind::Floor, Sense::AtMost, 1.5);
        assert_eq!(goal.reached(), None);
        assert_eq!(goal.to_string(), "x: not measured");
    }

    #[test]
    fn a_line_has_every_cell() {
        let line = Line {
            name: "n".to_owned(),
            samples: "3".to_owned(),
            unit: Unit::Time,
            figures: figures(0.000_5, 1.5),
            goals: vec![],
        };
        let page = table(&[line]);
        let last = page.lines().last().unwrap();
        assert_eq!(last, "| n | 500 µs | 1.50 s | – | 0.0003 | – | – | 3 |");
    }
}
