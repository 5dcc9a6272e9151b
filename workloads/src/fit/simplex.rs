//! Minimising a function of a few numbers without derivatives (Nelder and Mead 1965), for the one law that
//! has no closed estimate. Deterministic, and bounded in steps.

/// A point and the function there.
type Vertex<const N: usize> = ([f64; N], f64);

/// The best point that `steps` steps find from `start`, the first simplex being `size` wide.
pub fn minimise<const N: usize>(
    start: [f64; N],
    size: f64,
    steps: usize,
    f: impl Fn(&[f64; N]) -> f64,
) -> Vertex<N> {
    let at = |point: [f64; N]| (point, f(&point));
    let mut vertices = vec![at(start)];
    for axis in 0..N {
        let mut point = start;
        point[axis] += size;
        vertices.push(at(point));
    }
    for _ in 0..steps {
        vertices.sort_by(|a, b| a.1.total_cmp(&b.1));
        let worst = vertices[N];
        let centre: [f64; N] = std::array::from_fn(|axis| {
            vertices[..N].iter().map(|(point, _)| point[axis]).sum::<f64>() / N as f64
        });
        let beyond =
            |by: f64| at(std::array::from_fn(|axis| centre[axis] + by * (centre[axis] - worst.0[axis])));
        let reflected = beyond(1.0);
        let better = if reflected.1 < vertices[0].1 {
            let expanded = beyond(2.0);
            if expanded.1 < reflected.1 { expanded } else { reflected }
        } else if reflected.1 < vertices[N - 1].1 {
            reflected
        } else {
            beyond(if reflected.1 < worst.1 { 0.5 } else { -0.5 })
        };
        if better.1 < worst.1 {
            vertices[N] = better;
        } else {
            let best = vertices[0].0;
            for vertex in &mut vertices[1..] {
                *vertex = at(std::array::from_fn(|axis| f64::midpoint(best[axis], vertex.0[axis])));
            }
        }
    }
    vertices.sort_by(|a, b| a.1.total_cmp(&b.1));
    vertices[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rosenbrock_valley_is_walked_to_its_end() {
        let (point, value) =
            minimise([-1.2, 1.0], 0.5, 300, |[x, y]| (1.0 - x).powi(2) + 100.0 * (y - x * x).powi(2));
        assert!(value < 1e-9 && (point[0] - 1.0).abs() < 1e-3, "{point:?} {value}");
    }
}
