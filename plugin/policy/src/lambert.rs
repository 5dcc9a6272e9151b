//! The principal branch of Lambert's W, which the exact checkpoint interval needs. The maintained crates
//! either pull in far more or offer lower precision next to the branch point, where intervals live.

use std::f64::consts::E;

/// W0(x), the solution w >= -1 of w exp(w) = x, for x in [-1/e, 0]; `NaN` elsewhere.
///
/// Halley's iteration from the branch-point series (Corless et al. 1996, equations 4.22 and 5.9).
pub fn lambert_w0(x: f64) -> f64 {
    if !(-1.0 / E - 1e-15..=0.0).contains(&x) {
        return f64::NAN;
    }
    let p = (2.0 * (1.0 + E * x)).max(0.0).sqrt();
    let mut w = -1.0 + p - p * p / 3.0 + 11.0 / 72.0 * p * p * p;
    if p < 1e-5 {
        return w; // the series is exact to the last bits here, and Halley divides by nearly nothing
    }
    for _ in 0..50 {
        let exp = w.exp();
        let error = w * exp - x;
        let step = error / (exp * (w + 1.0) - (w + 2.0) * error / (2.0 * w + 2.0));
        w -= step;
        if step.abs() <= 4.0 * f64::EPSILON * w.abs() {
            break;
        }
    }
    w
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_values() {
        assert!(lambert_w0(0.0).abs() < 1e-15);
        assert!((lambert_w0(-1.0 / E) + 1.0).abs() < 1e-7);
        // W0(-ln 2 / 2) = -ln 2
        let ln2 = std::f64::consts::LN_2;
        assert!((lambert_w0(-ln2 / 2.0) + ln2).abs() < 1e-14);
        assert!(lambert_w0(0.1).is_nan() && lambert_w0(-0.4).is_nan());
    }

    proptest! {
        #[test]
        fn it_inverts_w_exp_w(w in -0.999_f64..0.0) {
            let found = lambert_w0(w * w.exp());
            prop_assert!((found - w).abs() < 1e-9 * (1.0 + 1.0 / (1.0 + w)), "{} {}", w, found);
        }
    }
}
