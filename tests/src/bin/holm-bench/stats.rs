//! Order statistics of a few samples.

/// The smallest sample that at least `percent` of all samples do not exceed (nearest rank); 0 without samples.
pub fn percentile(samples: &[f64], percent: usize) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0.0)
}

/// The middle sample, or the mean of the middle two; 0 without samples.
pub fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (sorted.get(sorted.len().saturating_sub(1) / 2), sorted.get(sorted.len() / 2)) {
        (Some(low), Some(high)) => f64::midpoint(*low, *high),
        _ => 0.0,
    }
}

/// The smallest sample; 0 without samples.
pub fn least(samples: &[f64]) -> f64 {
    percentile(samples, 0)
}

/// The largest sample; 0 without samples.
pub fn most(samples: &[f64]) -> f64 {
    percentile(samples, 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_ranks() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!([0, 1, 50, 99, 100].map(|p| percentile(&hundred, p)), [1.0, 1.0, 50.0, 99.0, 100.0]);
        assert_eq!([50, 99].map(|p| percentile(&[7.0], p)), [7.0, 7.0]);
        assert_eq!((least(&hundred), most(&hundred), percentile(&[], 50)), (1.0, 100.0, 0.0));
    }

    #[test]
    fn medians() {
        assert_eq!([median(&[3.0, 1.0, 2.0]), median(&[4.0, 1.0, 2.0, 3.0]), median(&[])], [2.0, 2.5, 0.0]);
    }
}
