//! `stasis doctor`: every precondition of the node and of the site, and what to do about each that does not hold.
//!
//! [`facts`] and [`slurm_facts`] gather, [`node`] and [`site`] judge what was gathered, without I/O.

pub mod facts;
pub mod node;
pub mod probe;
pub mod site;
pub mod slurm_facts;

use crate::text::{self, INDENT, Style, Tone};
use indicatif::ProgressBar;
use serde::Serialize;
use std::path::Path;
use std::time::Duration;

/// What is examined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// This node.
    pub node: bool,
    /// The site.
    pub site: bool,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It holds.
    Ok,
    /// Sessions can be kept, but less well than they could.
    Warn,
    /// Sessions cannot be kept.
    Fail,
    /// It could not be found out here.
    Skip,
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// `node` or `site`.
    pub part: &'static str,
    /// What was checked.
    pub check: &'static str,
    /// How it ended.
    pub verdict: Verdict,
    /// What was seen.
    pub message: String,
    /// What to do.
    pub remedy: Option<String>,
}

/// Findings in the making.
#[derive(Debug)]
pub struct Findings {
    part: &'static str,
    list: Vec<Finding>,
}

impl Findings {
    fn of(part: &'static str) -> Self {
        Self { part, list: Vec::new() }
    }

    fn add(
        &mut self,
        check: &'static str,
        verdict: Verdict,
        message: impl Into<String>,
        remedy: Option<String>,
    ) {
        self.list.push(Finding { part: self.part, check, verdict, message: message.into(), remedy });
    }

    fn ok(&mut self, check: &'static str, message: impl Into<String>) {
        self.add(check, Verdict::Ok, message, None);
    }

    fn warn(&mut self, check: &'static str, message: impl Into<String>, remedy: impl Into<String>) {
        self.add(check, Verdict::Warn, message, Some(remedy.into()));
    }

    fn fail(&mut self, check: &'static str, message: impl Into<String>, remedy: impl Into<String>) {
        self.add(check, Verdict::Fail, message, Some(remedy.into()));
    }

    fn skip(&mut self, check: &'static str, message: impl Into<String>) {
        self.add(check, Verdict::Skip, message, None);
    }
}

/// All findings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The node's name.
    pub node: String,
    /// Whether root looked.
    pub root: bool,
    /// The findings, in the order in which to read them.
    pub findings: Vec<Finding>,
}

/// Gathers and judges.
pub fn examine(config: Option<&Path>, store: Option<&Path>, parts: Parts) -> Report {
    let spinner = ProgressBar::new_spinner().with_message("looking around");
    spinner.enable_steady_tick(Duration::from_millis(100));
    let slurm = slurm_facts::gather_apart();
    let plugin_dir = slurm.as_ref().ok().map(|slurm| slurm.plugin_dir.as_str());
    let facts = facts::gather(config, store, plugin_dir);
    let mut findings = Vec::new();
    if parts.node {
        findings.extend(node::judge(&facts));
    }
    if parts.site {
        findings.extend(site::judge(slurm.as_ref(), facts.config.as_ref().ok().map(|found| &found.config)));
    }
    spinner.finish_and_clear();
    Report { node: facts.name, root: facts.root, findings }
}

impl Report {
    /// Whether anything failed.
    pub fn has_failed(&self) -> bool {
        self.count(Verdict::Fail) > 0
    }

    fn count(&self, verdict: Verdict) -> u64 {
        self.findings.iter().filter(|finding| finding.verdict == verdict).count() as u64
    }

    /// The report for people.
    pub fn render(&self, style: Style) -> String {
        let mut out = String::new();
        for (part, title) in
            [("node", format!("This node, {}", text::name(&self.node))), ("site", "The site".into())]
        {
            let findings: Vec<&Finding> =
                self.findings.iter().filter(|finding| finding.part == part).collect();
            if !findings.is_empty() {
                out = out + &style.mark(Tone::Strong, &title) + "\n" + &table(&findings, style) + "\n";
            }
        }
        out + &self.sum(style)
    }

    fn sum(&self, style: Style) -> String {
        let mut parts = vec![format!("{} ok", self.count(Verdict::Ok))];
        let marked = [(Verdict::Warn, "warning", Tone::Warning), (Verdict::Fail, "failure", Tone::Bad)];
        for (verdict, word, tone) in marked {
            let number = self.count(verdict);
            if number > 0 {
                parts.push(style.mark(tone, &text::count(number, word)));
            }
        }
        if self.count(Verdict::Skip) > 0 {
            let hint = if self.root { "" } else { " (root sees more)" };
            parts.push(format!("{} skipped{hint}", self.count(Verdict::Skip)));
        }
        parts.join(", ") + "\n"
    }
}

fn table(findings: &[&Finding], style: Style) -> String {
    let mut table = style.table(&["", "", ""], INDENT);
    for finding in findings {
        let (word, tone) = match finding.verdict {
            Verdict::Ok => ("ok", Tone::Good),
            Verdict::Warn => ("WARN", Tone::Warning),
            Verdict::Fail => ("FAIL", Tone::Bad),
            Verdict::Skip => ("skip", Tone::Faint),
        };
        let message = text::message(&finding.message);
        let words = match &finding.remedy {
            Some(remedy) => format!("{message}\n→ {}", text::message(remedy)),
            None => message,
        };
        table.add_row([
            style.cell(Some(tone), word),
            style.cell(None, finding.check),
            style.cell(None, words),
        ]);
    }
    // Without the line of the empty headings.
    text::lines(&table, INDENT).split_once('\n').map(|(_, rows)| rows.to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::hostile_text;
    use proptest::prelude::*;

    fn report(root: bool) -> Report {
        let mut node = Findings::of("node");
        node.ok("key", "/etc/stasis/key");
        node.fail("criu", "/usr/sbin/criu is missing", "install CRIU 4.2 or later");
        let mut site = Findings::of("site");
        site.warn("grace time", "partition low has GraceTime=0", "set GraceTime=60");
        site.skip("plugin", "slurmctld does not answer");
        node.list.extend(site.list);
        Report { node: "n1".into(), root, findings: node.list }
    }

    #[test]
    fn a_report_as_it_reads() {
        let golden = "\
This node, n1
  ok    key   /etc/stasis/key
  FAIL  criu  /usr/sbin/criu is missing
              → install CRIU 4.2 or later

The site
  WARN  grace time  partition low has GraceTime=0
                    → set GraceTime=60
  skip  plugin      slurmctld does not answer

1 ok, 1 warning, 1 failure, 1 skipped (root sees more)
";
        let seen = report(false).render(Style::plain());
        assert_eq!(seen, golden, "\n{seen}");
        assert!(report(true).render(Style::plain()).ends_with("1 skipped\n"));
    }

    #[test]
    fn only_a_failure_fails() {
        let mut report = report(true);
        assert!(report.has_failed());
        report.findings.retain(|finding| finding.verdict != Verdict::Fail);
        assert!(!report.has_failed());
    }

    proptest! {
        #[test]
        fn what_programs_say_stays_text(message in hostile_text(), remedy in hostile_text()) {
            let mut findings = Findings::of("node");
            findings.fail("criu", message, remedy);
            let seen = Report { node: "n1".into(), root: true, findings: findings.list }.render(Style::plain());
            prop_assert!(!seen.chars().any(|c| c.is_control() && c != '\n'), "{:?}", seen);
        }
    }
}
