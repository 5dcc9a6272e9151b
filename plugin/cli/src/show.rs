//! `stasis show JOB`: one session, its images, and what happened to it.

use crate::error::Result;
use crate::find;
use crate::list::{state_tone, trigger_words};
use crate::slurm;
use crate::text::{self, INDENT, Style, Tone};
use crate::timeline::{self, Totals};
use serde::Serialize;
use stasis_contract::{Event, Step, Trigger, format_bytes};
use stasis_image::Job;

/// How many events are shown unless all are asked for.
const EVENTS_SHOWN: usize = 60;

/// One image as it says of itself; what it says is not authenticated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Image {
    /// Its number.
    pub number: u32,
    /// Bytes in the store.
    pub stored_bytes: u64,
    /// What the manifest says, if it can be read.
    pub claims: Option<Claims>,
    /// Why the manifest cannot be read.
    pub unreadable: Option<String>,
}

/// What a manifest says of its image.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Claims {
    /// When it was taken, in milliseconds since the Unix epoch.
    pub created_unix_ms: u64,
    /// Why.
    pub trigger: Trigger,
    /// Node on which it was taken.
    pub node: String,
    /// Kernel of that node.
    pub kernel: String,
    /// How often the job had been requeued by then.
    pub restart_count: u32,
    /// Bytes of memory that the session had resident.
    pub resident_bytes: u64,
    /// Bytes of the image's content before compression.
    pub content_bytes: u64,
    /// How many processes and threads' pids the session had.
    pub processes: usize,
    /// Ports that the session listens on.
    pub ports: Vec<u16>,
}

/// A port of the session and the node's port that leads to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Port {
    /// Port inside the session.
    pub inside: u16,
    /// Port of the node.
    pub outside: u16,
}

/// Where the session can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reach {
    /// The node.
    pub node: String,
    /// Its ports.
    pub ports: Vec<Port>,
}

/// All that is shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Session {
    /// Slurm's job id.
    pub job_id: u32,
    /// Name of its user.
    pub user: String,
    /// Slurm's ClusterName.
    pub cluster: String,
    /// The job's name, where slurmctld still knows.
    pub name: Option<String>,
    /// The job's state, where slurmctld still knows.
    pub state: Option<String>,
    /// Node that it runs on.
    pub node: Option<String>,
    /// Its folder in the store.
    pub path: String,
    /// Where it can be reached, as far as the event log tells.
    pub reach: Option<Reach>,
    /// Its images, the newest first.
    pub images: Vec<Image>,
    /// What happened to it, the oldest first.
    pub events: Vec<Event>,
    /// Sums over the events.
    pub totals: Totals,
    /// What could not be found out, and why.
    pub notes: Vec<String>,
}

/// Gathers what there is about a job.
///
/// # Errors
/// When the job's part of the store cannot be read.
pub fn gather(job: &Job, known: Option<&slurm_sys::Job>, mut notes: Vec<String>) -> Result<Session> {
    let log = job.events()?;
    if log.shortened {
        notes.push("the event log is long: its beginning is not shown".into());
    }
    if log.unreadable_lines > 0 {
        let lines = text::count(log.unreadable_lines as u64, "line");
        notes.push(format!("{lines} of the event log cannot be read"));
    }
    if known.is_some_and(|known| known.held) {
        notes.push(format!(
            "the job is held and comes back only once it is released: `scontrol release {}`, which only an \
             administrator may if Slurm held it",
            job.job_id()
        ));
    }
    let runs = known.is_none_or(|known| slurm::node(known).is_some());
    Ok(Session {
        job_id: job.job_id(),
        user: find::user_name(job.uid()),
        cluster: job.cluster().into(),
        name: known.map(|known| known.name.clone()),
        state: known.map(|known| slurm::state_word(known).into()),
        node: known.and_then(slurm::node).map(Into::into),
        path: job.path().display().to_string(),
        reach: runs.then(|| reach(&log.events)).flatten(),
        images: job.images()?.iter().map(image).collect(),
        totals: Totals::of(&log.events),
        events: log.events,
        notes,
    })
}

fn image(candidate: &stasis_image::Candidate) -> Image {
    let (claims, unreadable) = match candidate.peek() {
        Ok(manifest) => (Some(claims(manifest.claims())), None),
        Err(refusal) => (None, Some(text::message(&refusal.to_string()))),
    };
    let stored_bytes = candidate.stored_bytes().unwrap_or(0);
    Image { number: candidate.number(), stored_bytes, claims, unreadable }
}

fn claims(manifest: &stasis_contract::Manifest) -> Claims {
    let (origin, session) = (&manifest.origin, &manifest.session);
    Claims {
        created_unix_ms: origin.created_unix_ms,
        trigger: origin.trigger,
        node: origin.node.clone(),
        kernel: origin.kernel.clone(),
        restart_count: origin.restart_count,
        resident_bytes: session.resident_bytes,
        // A manifest that lies must not end the program.
        content_bytes: manifest.files.iter().fold(0, |sum, file| sum.saturating_add(file.bytes)),
        processes: session.pids.len(),
        ports: session.ports.clone(),
    }
}

/// Where the session's last run can be reached; `None` if it has ended or does not say.
pub fn reach(events: &[Event]) -> Option<Reach> {
    let last = events.iter().rfind(|event| matches!(event.step, Step::Start | Step::Resume | Step::End))?;
    let ports = parse_ports(last.message.as_deref()?)?;
    Some(Reach { node: last.node.clone(), ports })
}

/// Reads `ports INSIDE:OUTSIDE[,INSIDE:OUTSIDE...]` out of an event's message; `->` may stand for the colon.
fn parse_ports(message: &str) -> Option<Vec<Port>> {
    let mut words = message.split([' ', ';']);
    words.find(|word| *word == "ports")?;
    let pairs = words.next()?.split(',').map(|pair| {
        let (inside, outside) = pair.split_once("->").or_else(|| pair.split_once(':'))?;
        Some(Port { inside: inside.parse().ok()?, outside: outside.parse().ok()? })
    });
    pairs.collect()
}

/// The session for people; only the last events, unless it is to be `full`.
pub fn render(session: &Session, now_unix_ms: u64, full: bool, style: Style) -> String {
    let mut out = head(session, style);
    let heading = |text: &str| format!("\n{}\n", style.mark(Tone::Strong, text));
    if session.images.is_empty() {
        out.push_str(&heading("No images"));
    } else {
        out.push_str(&heading("Images, as they say of themselves"));
        out.push_str(&images(&session.images, now_unix_ms, style));
    }
    if let Some(first) = session.events.first() {
        out.push_str(&heading(&format!("What happened since {}", text::local_time(first.at_unix_ms))));
        let skip = if full { 0 } else { session.events.len().saturating_sub(EVENTS_SHOWN) };
        if skip > 0 {
            let note = format!("  {} before these; --full shows them", text::count(skip as u64, "event"));
            out = out + &style.mark(Tone::Faint, &note) + "\n";
        }
        out.push_str(&timeline::render(&session.events, skip, style));
        out.push_str(&heading("In all"));
        out.push_str(&session.totals.render(style));
    }
    out
}

fn head(session: &Session, style: Style) -> String {
    let state = session.state.as_deref().unwrap_or("gone from slurmctld's memory");
    let name = session.name.as_deref().map(|name| format!(" ({})", text::name(name))).unwrap_or_default();
    let node = session.node.as_deref().map(|node| format!(" on {}", text::name(node))).unwrap_or_default();
    let tone = session.state.as_deref().map_or(Tone::Faint, state_tone);
    let title = style.mark(Tone::Strong, &format!("Job {}{name}", session.job_id));
    let mut out = vec![format!("{title}: {}{node}", style.mark(tone, state))];
    out.push(format!("  user   {}", text::name(&session.user)));
    out.push(format!("  in     {}", text::message(&session.path)));
    if let Some(reach) = &session.reach {
        let ports = reach.ports.iter().map(|port| {
            let inside = if port.inside == port.outside {
                String::new()
            } else {
                format!(" (port {} of the session)", port.inside)
            };
            format!("{}:{}{inside}", text::name(&reach.node), port.outside)
        });
        out.push(format!("  reach  {}", ports.collect::<Vec<_>>().join(", ")));
    }
    out.join("\n") + "\n"
}

fn images(images: &[Image], now_unix_ms: u64, style: Style) -> String {
    let headings = [">IMAGE", "TAKEN", ">AGE", ">IN STORE", ">MEMORY", ">PROCESSES", ">RUN", "NODE", "WHY"];
    let mut table = style.table(&headings, INDENT);
    for image in images {
        let Some(claims) = &image.claims else {
            let mut cells = vec![style.cell(None, image.number), style.cell(Some(Tone::Bad), "UNREADABLE")];
            cells.push(style.cell(None, ""));
            cells.push(style.cell(None, format_bytes(image.stored_bytes)));
            cells.extend(["", "", "", ""].map(|text| style.cell(None, text)));
            cells.push(style.cell(Some(Tone::Bad), image.unreadable.as_deref().unwrap_or_default()));
            table.add_row(cells);
            continue;
        };
        table.add_row([
            style.cell(None, image.number),
            style.cell(None, text::local_time(claims.created_unix_ms)),
            style.cell(None, text::age(text::seconds_between(claims.created_unix_ms, now_unix_ms))),
            style.cell(None, format_bytes(image.stored_bytes)),
            style.cell(None, format_bytes(claims.resident_bytes)),
            style.cell(None, claims.processes),
            style.cell(None, claims.restart_count),
            style.cell(None, text::name(&claims.node)),
            style.cell(None, trigger_words(claims.trigger)),
        ]);
    }
    text::lines(&table, INDENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::hostile_text;
    use crate::fixture::{self, NOW_UNIX_MS, Place, event};
    use proptest::prelude::*;
    use slurm_sys::JobState;

    fn started(message: &str) -> Event {
        Event { message: Some(message.into()), ..event(Step::Start, 0) }
    }

    #[test]
    fn a_session_as_it_reads() {
        let place = Place::new();
        let job = place.job("cli", 7);
        place.commit(&job, 1, Trigger::Request, 570, "n1");
        place.commit(&job, 2, Trigger::Preemption, 500, "n1");
        place.commit(&job, 3, Trigger::Interval, 100, "n1");
        std::fs::remove_file(job.path().join("000003/manifest")).unwrap();
        job.append_event(&started("ports 8888:40123,6006:6006")).unwrap();
        job.append_event(&Event { message: Some("disk full".into()), ..event(Step::Failure, 4_000) })
            .unwrap();
        let known = fixture::slurm_job(7, JobState::Running, "RUNNING");
        let session = gather(&job, Some(&known), Vec::new()).unwrap();
        let seen = render(&session, NOW_UNIX_MS, false, Style::plain());
        let taken = |age_s: u64| text::local_time(NOW_UNIX_MS - age_s * 1000);
        let golden = format!(
            "\
Job 7 (notebook): RUNNING on n2
  user   {}
  in     {}
  reach  n1:40123 (port 8888 of the session), n1:6006

Images, as they say of themselves
  IMAGE  TAKEN                  AGE  IN STORE    MEMORY  PROCESSES  RUN  NODE  WHY
      3  UNREADABLE                   1.0 MiB                                  it is torn: it has no manifest, so whatever wrote it never finished
      2  {}  8 min   1.0 MiB  64.0 MiB          3    1  n1    preemption
      1  {}  9 min   1.0 MiB  64.0 MiB          3    0  n1    request

What happened since {}
   AFTER  RUN  NODE  STEP     IMAGE  TOOK  BYTES  NOTE
  0.00 s    0  n1    start                        ports 8888:40123,6006:6006
  4.00 s             FAILURE                      disk full

In all
  0 images committed, 0 B in all; frozen 0.00 s in all, 0.00 s at most
  1 step failed
",
            find::user_name(job.uid()),
            job.path().display(),
            taken(500),
            taken(570),
            taken(600),
        );
        assert_eq!(seen, golden, "\n{seen}");
    }

    #[test]
    fn a_long_log_is_shown_from_its_end() {
        let place = Place::new();
        let job = place.job("cli", 7);
        for at_s in 0..100 {
            job.append_event(&event(Step::Pack, at_s * 1000)).unwrap();
        }
        let session = gather(&job, None, Vec::new()).unwrap();
        let short = render(&session, NOW_UNIX_MS, false, Style::plain());
        assert!(short.contains("40 events before these; --full shows them"), "{short}");
        assert_eq!(short.matches(" pack").count(), EVENTS_SHOWN);
        assert!(short.contains("1:39.00") && !short.contains(" 39.00 s"), "{short}");
        assert_eq!(render(&session, NOW_UNIX_MS, true, Style::plain()).matches(" pack").count(), 100);
    }

    #[test]
    fn a_held_job_is_told() {
        let place = Place::new();
        let job = place.job("cli", 7);
        job.append_event(&event(Step::Start, 0)).unwrap();
        let held = slurm_sys::Job { held: true, ..fixture::slurm_job(7, JobState::Pending, "PENDING") };
        let session = gather(&job, Some(&held), Vec::new()).unwrap();
        assert_eq!(session.state.as_deref(), Some("HELD"));
        assert!(session.notes[0].contains("scontrol release 7"), "{:?}", session.notes);
    }

    #[test]
    fn ports_are_read_from_the_log() {
        let both = vec![Port { inside: 8888, outside: 40123 }, Port { inside: 1024, outside: 1024 }];
        assert_eq!(parse_ports("ports 8888:40123,1024:1024"), Some(both.clone()));
        assert_eq!(parse_ports("restored; ports 8888->40123,1024->1024"), Some(both));
        for bad in ["", "ports", "ports 1", "ports 1:2:3", "ports 1:99999", "ports 8888:40123,", "no ports:"]
        {
            assert_eq!(parse_ports(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_ended_session_cannot_be_reached() {
        let mut events = vec![started("ports 8888:40123")];
        assert_eq!(reach(&events).unwrap().ports.len(), 1);
        events.push(Event { node: "n2".into(), ..event(Step::Resume, 10) });
        assert_eq!(reach(&events), None, "the last run says nothing of ports");
        events.push(event(Step::End, 20));
        assert_eq!(reach(&events), None);
    }

    proptest! {
        #[test]
        fn no_message_panics(message in hostile_text(), tail in hostile_text()) {
            let _ = parse_ports(&message);
            let _ = parse_ports(&format!("ports {tail}"));
        }

        #[test]
        fn hostile_images_stay_text(node in hostile_text(), user in hostile_text(), unreadable in hostile_text()) {
            let claims = Claims {
                created_unix_ms: u64::MAX, trigger: Trigger::Idle, node: node.clone(), kernel: String::new(),
                restart_count: 0, resident_bytes: u64::MAX, content_bytes: u64::MAX, processes: 0, ports: vec![],
            };
            let good = Image { number: 1, stored_bytes: u64::MAX, claims: Some(claims), unreadable: None };
            let bad = Image { number: 2, stored_bytes: 0, claims: None, unreadable: Some(text::message(&unreadable)) };
            let session = Session {
                job_id: 7, user: user.clone(), cluster: user.clone(), name: Some(user.clone()), state: None, node: Some(node.clone()),
                path: user, reach: Some(Reach { node, ports: vec![Port { inside: 1, outside: 2 }] }),
                images: vec![good, bad], events: vec![], totals: Totals::default(), notes: vec![],
            };
            let seen = render(&session, 0, false, Style::plain());
            prop_assert!(!seen.chars().any(|c| c.is_control() && c != '\n'), "{:?}", seen);
            prop_assert_eq!(seen.lines().count(), 9, "{}", seen);
        }
    }
}
