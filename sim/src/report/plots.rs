//! The plots of a report, drawn as SVG by plotters. Colours are those of Okabe and Ito, which people with
//! any colour vision can tell apart.

use super::ReportError;
use crate::result::{Saved, points_s};
use plotters::prelude::*;
use std::error::Error;

const WIDE: (u32, u32) = (880, 380);
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(213, 94, 0),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(150, 140, 20),
    RGBColor(90, 90, 90),
];
const INK: RGBColor = RGBColor(85, 96, 110);
const FAINT: RGBColor = RGBColor(237, 240, 244);
const CAUSES: [&str; 6] = ["busy", "idle", "boot", "dump", "restore", "lost"];

type Drawn = Result<(), Box<dyn Error>>;

fn svg(
    plot: &'static str,
    size: (u32, u32),
    draw: impl FnOnce(&DrawingArea<SVGBackend<'_>, plotters::coord::Shift>) -> Drawn,
) -> Result<String, ReportError> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        let drawn = draw(&area).and_then(|()| area.present().map_err(Into::into));
        drawn.map_err(|error| ReportError::Plot { plot, reason: error.to_string() })?;
    }
    // A size in the markup would fix the width; the view box lets the page choose.
    Ok(text.replacen(
        &format!("width=\"{}\" height=\"{}\"", size.0, size.1),
        &format!("role=\"img\" aria-label=\"{plot}\""),
        1,
    ))
}

fn colour(index: usize) -> RGBColor {
    COLOURS[index % COLOURS.len()]
}

/// A little more than the largest value, never nothing.
fn top(values: impl Iterator<Item = f64>) -> f64 {
    let largest = values.filter(|value| value.is_finite()).fold(0.0, f64::max);
    if largest > 0.0 { largest * 1.08 } else { 1.0 }
}

/// Money against the 95th percentile of waiting, with the points that no other beats in both.
pub fn pareto(results: &[Saved], labels: &[String]) -> Result<String, ReportError> {
    let points: Vec<(f64, f64)> = results
        .iter()
        .map(|r| (r.mean("waited_h").unwrap_or(f64::NAN), r.mean("money").unwrap_or(f64::NAN)))
        .collect();
    let rows = results.len() as u32;
    svg("Cost against waiting", (WIDE.0, 380 + 18 * rows.div_ceil(2)), |area| {
        let (plot, legend) = area.split_vertically(380);
        let (x_top, y_top) = (top(points.iter().map(|p| p.0)), top(points.iter().map(|p| p.1)));
        let mut chart = ChartBuilder::on(&plot)
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..x_top, 0.0..y_top)?;
        axes(&mut chart, "hours that people waited", "money")?;
        chart.draw_series(LineSeries::new(staircase(&points, x_top), INK.stroke_width(1)))?;
        for (index, &point) in points.iter().enumerate().filter(|(_, p)| p.0.is_finite() && p.1.is_finite()) {
            chart.draw_series([Circle::new(point, 11, WHITE.filled())])?;
            chart.draw_series([Circle::new(point, 10, colour(index).filled())])?;
            let number = ("sans-serif", 12).into_font().color(&WHITE);
            let style = number.pos(centred());
            chart.draw_series([Text::new(format!("{}", index + 1), point, style)])?;
        }
        for (index, label) in labels.iter().enumerate() {
            let (column, row) = (index as i32 % 2, index as i32 / 2);
            let at = (70 + column * 410, row * 18);
            let style = ("sans-serif", 13).into_font().color(&RGBColor(29, 37, 48));
            legend.draw(&Text::new(format!("{}  {}", index + 1, clip(label, 58)), at, style))?;
        }
        Ok(())
    })
}

fn centred() -> plotters::style::text_anchor::Pos {
    use plotters::style::text_anchor::{HPos, Pos, VPos};
    Pos::new(HPos::Center, VPos::Center)
}

fn clip(label: &str, most: usize) -> String {
    if label.chars().count() <= most {
        return label.into();
    }
    label.chars().take(most - 1).chain(['…']).collect()
}

/// The lower left border of the points, as steps.
fn staircase(points: &[(f64, f64)], x_top: f64) -> Vec<(f64, f64)> {
    let mut sorted: Vec<_> = points.iter().copied().filter(|p| p.0.is_finite() && p.1.is_finite()).collect();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let mut steps: Vec<(f64, f64)> = Vec::new();
    for (x, y) in sorted {
        match steps.last().copied() {
            Some((_, lowest)) if y >= lowest => {}
            Some((_, lowest)) => steps.extend([(x, lowest), (x, y)]),
            None => steps.push((x, y)),
        }
    }
    if let Some(&(_, lowest)) = steps.last() {
        steps.push((x_top, lowest));
    }
    steps
}

fn axes(
    chart: &mut ChartContext<
        '_,
        SVGBackend<'_>,
        Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>,
    >,
    x: &str,
    y: &str,
) -> Drawn {
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(FAINT)
        .axis_style(INK)
        .x_desc(x)
        .y_desc(y)
        .x_label_formatter(&|value| plain(*value))
        .y_label_formatter(&|value| plain(*value))
        .label_style(("sans-serif", 13).into_font().color(&INK))
        .axis_desc_style(("sans-serif", 14).into_font().color(&INK))
        .draw()?;
    Ok(())
}

/// A number without a tail of zeros.
fn plain(value: f64) -> String {
    if value.fract().abs() < 1e-9 { format!("{value:.0}") } else { format!("{value:.2}") }
}

/// One bar per result, stacked by cause.
pub fn costs(results: &[Saved], labels: &[String]) -> Result<String, ReportError> {
    let bar = 30;
    let height = 70 + bar * results.len() as u32;
    svg("Where the money goes", (WIDE.0, height), |area| {
        let money = |result: &Saved, cause: &str| -> f64 {
            result.costs.iter().filter(|line| line.cause == cause).map(|line| line.money).sum()
        };
        let total = |result: &Saved| CAUSES.iter().map(|cause| money(result, cause)).sum::<f64>();
        let most = top(results.iter().map(total));
        let (left, right) = (300, WIDE.0 as i32 - 70);
        let at = |value: f64| left + (value / most * f64::from(right - left)) as i32;
        let ink = ("sans-serif", 13).into_font().color(&RGBColor(29, 37, 48));
        for (index, cause) in CAUSES.iter().enumerate() {
            let x = left + index as i32 * 85;
            area.draw(&Rectangle::new([(x, 10), (x + 12, 22)], colour(index).filled()))?;
            area.draw(&Text::new((*cause).to_string(), (x + 17, 10), ink.clone()))?;
        }
        for (row, (result, label)) in results.iter().zip(labels).enumerate() {
            let y = 38 + row as i32 * bar as i32;
            area.draw(&Text::new(clip(label, 42), (8, y + 4), ink.clone()))?;
            let mut sum = 0.0;
            for (index, cause) in CAUSES.iter().enumerate() {
                let part = money(result, cause);
                area.draw(&Rectangle::new([(at(sum), y), (at(sum + part), y + 20)], colour(index).filled()))?;
                sum += part;
            }
            area.draw(&Text::new(format!("{sum:.0}"), (at(sum) + 6, y + 4), ink.clone()))?;
        }
        Ok(())
    })
}

/// Distribution of waits after coming back, on a logarithmic axis.
pub fn waits(results: &[Saved], labels: &[String]) -> Result<String, ReportError> {
    let mut shown: Vec<usize> = (0..results.len())
        .filter(|&i| results[i].waits.get("resume").is_some_and(|wait| wait.summary.count > 0))
        .collect();
    // No more lines than colours: those that cost least with waiting priced in.
    shown.sort_by(|&a, &b| super::felt(&results[a]).total_cmp(&super::felt(&results[b])));
    shown.truncate(COLOURS.len());
    let rows = shown.len().div_ceil(2) as u32;
    svg("What people wait", (WIDE.0, WIDE.1 + 18 * rows), |area| {
        let (plot, legend) = area.split_vertically(WIDE.1);
        let mut chart = ChartBuilder::on(&plot)
            .margin(12)
            .margin_right(28) // the last label is centred on the edge
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d((0.1_f64..10_000.0).log_scale(), 0.0..1.02)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(FAINT)
            .axis_style(INK)
            .x_desc("seconds")
            .y_desc("share of returns served")
            .x_label_formatter(&|x| format!("{x}"))
            .label_style(("sans-serif", 13).into_font().color(&INK))
            .axis_desc_style(("sans-serif", 14).into_font().color(&INK))
            .draw()?;
        for (place, &index) in shown.iter().enumerate() {
            let shares = &results[index].waits["resume"].shares;
            let line = points_s().into_iter().zip(shares.iter().copied());
            chart.draw_series(LineSeries::new(line, colour(place).stroke_width(2)))?;
            let at = (70 + place as i32 % 2 * 410, place as i32 / 2 * 18);
            legend.draw(&Rectangle::new([at, (at.0 + 12, at.1 + 12)], colour(place).filled()))?;
            let ink = ("sans-serif", 13).into_font().color(&RGBColor(29, 37, 48));
            legend.draw(&Text::new(clip(&labels[index], 55), (at.0 + 18, at.1), ink))?;
        }
        Ok(())
    })
}

/// Sessions by state over time, stacked.
pub fn occupancy(result: &Saved) -> Result<String, ReportError> {
    let series = &result.occupancy;
    svg("Sessions over time", (WIDE.0, WIDE.1 + 22), |area| {
        let (plot, legend) = area.split_vertically(WIDE.1);
        let width_days = series.width_h / 24.0;
        let most = top(series.sessions.iter().map(|states| states.iter().sum()));
        let end = (series.sessions.len().max(1)) as f64 * width_days;
        let mut chart = ChartBuilder::on(&plot)
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..end, 0.0..most)?;
        axes(&mut chart, "days", "sessions")?;
        // From the top of the stack down, so that each area covers the ones above it.
        for state in (0..result.states.len().min(6)).rev() {
            let height = |states: &[f64; 6]| states[..=state].iter().sum::<f64>();
            let line = series.sessions.iter().enumerate();
            let line = line.map(|(i, states)| ((i as f64 + 0.5) * width_days, height(states)));
            chart.draw_series(AreaSeries::new(line, 0.0, colour(state).filled()))?;
        }
        for (state, name) in result.states.iter().enumerate() {
            let x = 70 + state as i32 * 125;
            legend.draw(&Rectangle::new([(x, 4), (x + 12, 16)], colour(state).filled()))?;
            let ink = ("sans-serif", 13).into_font().color(&RGBColor(29, 37, 48));
            legend.draw(&Text::new(name.clone(), (x + 18, 4), ink))?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_points_that_nothing_beats_are_on_the_front() {
        let points = [(1.0, 5.0), (2.0, 6.0), (3.0, 2.0), (f64::NAN, 0.0), (4.0, 4.0)];
        assert_eq!(staircase(&points, 10.0), [(1.0, 5.0), (3.0, 5.0), (3.0, 2.0), (10.0, 2.0)]);
    }

    #[test]
    fn felt_money_of_a_result_without_it_is_the_worst() {
        let text = serde_json::json!({
            "format": 1, "version": "0", "scenario": toml::from_str::<serde_json::Value>(
                include_str!("../../scenarios/small.toml")).expect("toml"),
            "replications": 1, "figures": [], "costs": [], "waits": {},
            "occupancy": {"width_h": 1.0, "sessions": []}, "states": []
        });
        let saved: Saved = serde_json::from_value(text).expect("a result");
        assert!(crate::report::felt(&saved).is_infinite());
        assert!(occupancy(&saved).expect("a plot").starts_with("<svg"));
    }
}
