//! Noise schedules against their definitions.

use tempest::config::Schedule;

#[test]
fn the_mean_rate_is_the_integral_of_the_rate() {
    for schedule in Schedule::ALL {
        // Midpoint rule, error below h²/24·max|μ''| = 1e-9; of a root from 0 on 0.061·h^1.5 = 6e-8.
        let mean: f64 = (0..10_000).map(|i| schedule.mask_rate((f64::from(i) + 0.5) / 1e4)).sum::<f64>() / 1e4;
        assert!((f64::from(schedule.mean_mask_rate()) - mean).abs() < 4e-7, "{schedule:?}");
    }
}

#[test]
fn the_weight_is_the_logarithmic_derivative_of_the_mask_rate() {
    for schedule in Schedule::ALL {
        for i in 1..100 {
            let u = f64::from(i) / 100.0;
            let (mu, weight) = schedule.mask_rate_and_weight(u as f32);
            assert!((f64::from(mu) - schedule.mask_rate(u)).abs() < 5e-7, "{schedule:?} {u}");
            let h = 1e-6;
            let slope = (schedule.mask_rate(u + h) - schedule.mask_rate(u - h)) / (2.0 * h);
            let want = slope / schedule.mask_rate(u);
            // 2e-5: f32 rounding of cos near 0, where cos(π/2·0.99) = 0.0157 carries the series' 2e-7.
            assert!((f64::from(weight) - want).abs() < 2e-5 * want.max(1.0), "{schedule:?} {u}: {weight} {want}");
        }
    }
}
