//! Samples and what is said about them.

use std::time::Duration;

/// Latencies of one round.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples {
    sorted: Vec<Duration>,
}

impl Samples {
    /// Sorts what was measured.
    pub(crate) fn new(mut samples: Vec<Duration>) -> Self {
        samples.sort_unstable();
        Self { sorted: samples }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.sorted.len()
    }

    /// The sample that `percent` of all do not exceed, in seconds (nearest rank).
    pub(crate) fn percentile(&self, percent: usize) -> Option<f64> {
        let rank = (self.sorted.len() * percent).div_ceil(100);
        self.sorted
            .get(rank.saturating_sub(1))
            .map(Duration::as_secs_f64)
    }
}

/// A count as a figure.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
pub(crate) const fn figure(count: usize) -> f64 {
    count as f64
}

/// The middle one; of an even number, the mean of the two in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = values.get(values.len() / 2)?;
    let lower = values.get(values.len().saturating_sub(1) / 2)?;
    Some(f64::midpoint(*upper, *lower))
}

/// The median over rounds of each round's percentile.
pub(crate) fn median_percentile(rounds: &[Samples], percent: usize) -> Option<f64> {
    median(
        rounds
            .iter()
            .filter_map(|round| round.percentile(percent))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentile_is_the_nearest_rank() {
        let samples = Samples::new((1..=200).rev().map(Duration::from_secs).collect());
        assert_eq!(samples.percentile(50), Some(100.0));
        assert_eq!(samples.percentile(99), Some(198.0));
        assert_eq!(samples.percentile(100), Some(200.0));
        assert_eq!(Samples::default().percentile(50), None);
    }

    #[test]
    fn median_of_an_even_number_is_between_the_two() {
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![]), None);
    }

    #[test]
    fn a_round_that_is_out_of_line_does_not_move_the_median() {
        let round = |micros| Samples::new(vec![Duration::from_micros(micros)]);
        let rounds = [round(10), round(9000), round(11)];
        assert_eq!(median_percentile(&rounds, 50), Some(0.000_011));
    }
}
