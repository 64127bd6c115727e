//! Resident memory.

use crate::error::BenchError;
use crate::host::{Host, Kind};
use crate::report::{Figure, Goal, Line, PerKind, Sense, Unit};

/// What each daemon has resident at this moment.
pub(crate) fn measure(name: &str, hosts: &[Host]) -> Result<Vec<Line>, BenchError> {
    let mut figures = PerKind::empty();
    for host in hosts {
        let (all, anonymous) = host.resident()?;
        let mut figure = Figure::new(all);
        figure.remark = format!("{:.1} anonymous", anonymous / 1_048_576.0);
        *figures.of_mut(host.kind()) = Some(figure);
    }
    let goals = vec![Goal::ratio(
        "≤ 1 × C",
        &figures,
        Kind::C,
        Sense::AtMost,
        1.0,
    )];
    Ok(vec![Line {
        name: format!("resident memory, {name}"),
        samples: "1".to_owned(),
        unit: Unit::Memory,
        figures,
        goals,
    }])
}
