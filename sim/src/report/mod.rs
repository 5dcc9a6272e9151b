//! One self-contained page from result files: what was run, what it costs, what people feel. Plots are
//! inline SVG, so the page can be mailed and opened anywhere. It must not run anything.

mod plots;

use crate::result::Saved;
use std::fmt::Write as _;

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// There is nothing to show.
    #[error("there are no results to report")]
    Empty,
    /// The results come from another version.
    #[error("the result `{name}` has format {found}; this program reads format {}", crate::result::FORMAT)]
    Format {
        /// Its scenario's name.
        name: String,
        /// Its format.
        found: u32,
    },
    /// A plot could not be drawn.
    #[error("couldn't draw {plot}: {reason}")]
    Plot {
        /// Which one.
        plot: &'static str,
        /// Why.
        reason: String,
    },
}

const STYLE: &str = include_str!("style.css");
/// Plots of single results are made for no more than this many.
const DETAILED_MAX: usize = 12;

/// The page.
///
/// # Errors
/// Nothing to show, another format, or a plot that cannot be drawn.
pub fn page(results: &[Saved]) -> Result<String, ReportError> {
    let first = results.first().ok_or(ReportError::Empty)?;
    if let Some(other) = results.iter().find(|result| result.format != crate::result::FORMAT) {
        return Err(ReportError::Format { name: other.scenario.name.clone(), found: other.format });
    }
    let labels: Vec<String> = results.iter().map(label).collect();
    let mut page = String::new();
    let title = escape(&first.scenario.name);
    let _ = write!(
        page,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"><title>{title} · stasis-sim</title><style>{STYLE}</style>\
         </head><body><main><h1>{title}</h1><p class=lead>{}</p>",
        escape(&first.scenario.description)
    );
    let _ = write!(page, "{}", headline(results, &labels));
    let _ = write!(
        page,
        "<h2>Figures</h2><p>Means; p50 and p99 are waits after coming back; cut cells and killed sessions \
         are per thousand sessions.</p>{}",
        table(results, &labels)
    );
    if results.len() > 1 {
        section(
            &mut page,
            "Cost against waiting",
            "Each point is one policy. Down is cheap, left is quick; the line joins those that no other \
             policy beats in both.",
            &plots::pareto(results, &labels)?,
        );
    }
    let shown = results.len().min(DETAILED_MAX);
    section(
        &mut page,
        "Where the money goes",
        "Mean per replication, by what the machines did while they were paid for.",
        &plots::costs(&results[..shown], &labels)?,
    );
    section(
        &mut page,
        "What people wait after coming back",
        "Share of returns to a suspended session that were served within a time. Higher and further left is \
         better.",
        &plots::waits(&results[..shown], &labels)?,
    );
    let best =
        results.iter().enumerate().min_by(|a, b| felt(a.1).total_cmp(&felt(b.1))).map_or(0, |pair| pair.0);
    section(
        &mut page,
        "Sessions over time",
        &format!("First replication of {}.", escape(&labels[best])),
        &plots::occupancy(&results[best])?,
    );
    let _ = write!(page, "{}</main></body></html>", provenance(first));
    Ok(page)
}

fn section(page: &mut String, title: &str, caption: &str, svg: &str) {
    let _ = write!(page, "<h2>{title}</h2><p>{caption}</p><figure>{svg}</figure>");
}

fn felt(result: &Saved) -> f64 {
    result.mean("felt_money").unwrap_or(f64::INFINITY)
}

/// What a result is called: what was changed in a sweep, or its scenario's name.
fn label(result: &Saved) -> String {
    if result.cell.is_empty() {
        return result.scenario.name.clone();
    }
    let changes =
        result.cell.iter().filter(|(key, _)| key.as_str() != "replications" && key.as_str() != "seed");
    changes.map(|(_, value)| short(value)).collect::<Vec<_>>().join(" · ")
}

/// A value in few words: `{ suspend-after = { after_s = 60 } }` becomes `suspend-after 60 s`.
fn short(value: &toml::Value) -> String {
    match value {
        toml::Value::Table(table) => {
            let one = |(key, value): (&String, &toml::Value)| match value {
                toml::Value::Table(inner) if inner.is_empty() => key.clone(),
                _ => match key.strip_suffix("_s") {
                    Some("after" | "wait" | "interval") => format!("{} s", short(value)),
                    _ => format!("{key} {}", short(value)),
                },
            };
            table.iter().map(one).collect::<Vec<_>>().join(" ")
        }
        toml::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn headline(results: &[Saved], labels: &[String]) -> String {
    let best = results.iter().zip(labels).min_by(|a, b| felt(a.0).total_cmp(&felt(b.0)));
    let Some((best, label)) = best else { return String::new() };
    let card = |value: String, what: &str| format!("<div class=card><b>{value}</b><span>{what}</span></div>");
    let mean = |name: &str| best.mean(name).unwrap_or(f64::NAN);
    let mut cards =
        card(format!("{:.2}×", mean("saved_factor")), "saved against always-on, on-demand machines");
    cards += &card(format!("{:.0} s", mean("resume_wait_p50_s")), "median wait after coming back");
    cards += &card(format!("{:.0} s", mean("resume_wait_p99_s")), "99th percentile of it");
    cards +=
        &card(format!("{:.2}", mean("felt_over_bound")), "of the least possible cost, waiting priced in");
    let lead = if results.len() > 1 {
        format!(
            "<p>Of {} policies, <b>{}</b> costs least with people's waiting priced in:</p>",
            results.len(),
            escape(label)
        )
    } else {
        String::new()
    };
    let thanks = best.attribution.map(|a| {
        format!(
            "<p>Of the {:.2}×, idle handling gives {:.2}×, spot machines {:.2}×, right-sizing {:.2}×, and \
             overheads take {:.2}×. The factors multiply; each is a part's share over all orders (Shapley).</p>",
            a.total, a.idle, a.spot, a.right_size, a.overhead
        )
    });
    format!("{lead}<div class=cards>{cards}</div>{}", thanks.unwrap_or_default())
}

const COLUMNS: [(&str, &str, usize); 8] = [
    ("money", "money", 0),
    ("saved_factor", "saved ×", 2),
    ("money_over_bound", "over bound ×", 2),
    ("resume_wait_p50_s", "p50 s", 1),
    ("resume_wait_p99_s", "p99 s", 1),
    ("interrupted_cells_per_1000_sessions", "cut /1000", 1),
    ("lost_busy_s", "lost busy s", 0),
    ("killed_per_1000_sessions", "killed /1000", 1),
];

fn table(results: &[Saved], labels: &[String]) -> String {
    let heads = COLUMNS.iter().fold(String::new(), |text, (_, head, _)| text + "<th>" + head + "</th>");
    let mut rows = String::new();
    for (result, label) in results.iter().zip(labels) {
        let _ = write!(rows, "<tr><td>{}</td>", escape(label));
        for (name, _, digits) in COLUMNS {
            let figure = result.figures.iter().find(|figure| figure.name == name);
            let mean = figure.and_then(|figure| figure.mean);
            let half = figure
                .and_then(|figure| figure.halfwidth)
                .filter(|&half| half > 1e-9 * mean.unwrap_or(0.0).abs());
            let text = mean.map_or("–".into(), |mean| format!("{mean:.digits$}"));
            let half = half.map_or(String::new(), |half| format!("<small>±{half:.digits$}</small>"));
            let _ = write!(rows, "<td>{text}{half}</td>");
        }
        rows += "</tr>";
    }
    format!(
        "<div class=scroll><table><thead><tr><th>policy</th>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
}

fn provenance(first: &Saved) -> String {
    let scenario = toml::to_string(&first.scenario).unwrap_or_default();
    format!(
        "<footer><p>stasis-sim {}, seed {}, {} replications; ± are 95 % intervals (Student t).</p>\
         <details><summary>Scenario{}</summary><pre>{}</pre></details></footer>",
        escape(&first.version),
        first.scenario.seed,
        first.replications,
        if first.cell.is_empty() { "" } else { " of the first cell" },
        escape(&scenario)
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_in_few_words_and_nothing_unescaped() {
        let value: toml::Table =
            "x = { suspend-after = { after_s = 60 } }\ny = { always-on = {} }".parse().expect("toml");
        assert_eq!(short(&value["x"]), "suspend-after 60 s");
        assert_eq!(short(&value["y"]), "always-on");
        assert_eq!(escape("<a & \"b\">"), "&lt;a &amp; &quot;b&quot;&gt;");
        assert!(matches!(page(&[]), Err(ReportError::Empty)));
    }
}
