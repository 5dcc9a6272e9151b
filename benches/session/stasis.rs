//! Measuring Stasis, and plain CRIU on the same session.
//!
//! What Stasis measures of itself comes from the session's event log; when the session answers is seen from outside.

use crate::jupyter::{Answered, Server};
use crate::machine;
use crate::plain::{self, PlainDump};
use crate::results::{Measure, Method, Sample};
use crate::rig::{Rig, Session, seconds, time};
use crate::workload::Workload;
use anyhow::{Context, ensure};
use stasis_contract::{Event, Step};
use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

/// A session that has just done something is given a moment to come to rest, as a person gives it many.
const REST: Duration = Duration::from_secs(1);
/// How much of the memory that is available is touched before something is measured.
const MEMORY_AT_HAND: f64 = 0.25;

/// One run: two checkpoints on request, of which the second counts, plain CRIU's dump of the same session, a preemption,
/// plain CRIU's restore. What was measured before a failure is kept.
pub fn measure(
    rig: &Rig,
    workload: &Workload,
    only: &[Method],
    samples: &mut Vec<Sample>,
) -> anyhow::Result<()> {
    let mut session = rig.session(workload)?;
    let result = measure_session(rig, &mut session, workload, only, samples);
    let ended = session.end();
    result.and(ended)
}

fn measure_session(
    rig: &Rig,
    session: &mut Session<'_>,
    workload: &Workload,
    only: &[Method],
    samples: &mut Vec<Sample>,
) -> anyhow::Result<()> {
    let checksum = session.server()?.run(&session.kernel, Workload::checksum())?;
    let mut stasis = blank(Method::Stasis);
    on_request(session, &mut stasis)?;
    let mut plain = blank(Method::Criu);
    let dump = only.contains(&Method::Criu).then(|| {
        rest();
        plain::dump(&rig.cluster, &session.node, &session.manifest(1)?, &mut plain)
    });
    if only.contains(&Method::Stasis) {
        preempted(session, workload, &mut stasis)?;
        check(&session.server()?, &session.kernel, &checksum, &mut stasis)?;
        samples.push(stasis);
    }
    if let Some(dump) = dump {
        let dump = dump?;
        session.end()?;
        restore_plain(&dump, &session.kernel, workload, &checksum, &mut plain)?;
        samples.push(plain);
    }
    Ok(())
}

fn restore_plain(
    dump: &PlainDump<'_>,
    kernel: &str,
    workload: &Workload,
    checksum: &str,
    sample: &mut Sample,
) -> anyhow::Result<()> {
    rest();
    let restored = dump.restore(sample)?;
    let answered = restored.server.first_answer(kernel, Workload::question(), &workload.answer())?;
    let restore_s = seconds(restored.begun, answered.at);
    sample.steps.push(("answer", seconds(restored.finished, answered.at)));
    let saved_s = sample.measures.get(&Measure::Saved).context("a dump was measured")?;
    let moved_s = saved_s + restore_s;
    sample.measures.extend([(Measure::Restored, restore_s), (Measure::Moved, moved_s)]);
    check(&restored.server, kernel, checksum, sample)
}

/// Checks that the whole array is as it was. How long that takes is told as well: memory may come back later than
/// the session.
pub fn check(server: &Server, kernel: &str, checksum: &str, sample: &mut Sample) -> anyhow::Result<()> {
    let begun = Instant::now();
    let found = server.run(kernel, Workload::checksum())?;
    ensure!(found == checksum, "{}: the array that was restored is another", sample.method);
    sample.steps.push(("checksum of the array", begun.elapsed().as_secs_f64()));
    Ok(())
}

/// A sample to be filled in.
pub fn blank(method: Method) -> Sample {
    Sample { method, size_gb: 0.0, measures: BTreeMap::new(), steps: Vec::new(), image_bytes: 0 }
}

/// Lets what was measured before come to its end, down to the disk, and has memory at hand for what comes next: the host
/// of a virtual machine takes memory away that has not been used for a while, and gives it back at a fifth of the speed
/// at which CRIU fills it.
pub fn rest() {
    nix::unistd::sync();
    sleep(REST);
    let bytes = machine::available_gb().unwrap_or(0.0) * 1e9 * MEMORY_AT_HAND;
    drop(std::hint::black_box(vec![1_u8; bytes as usize]));
}

/// A checkpoint after which the session goes on. It is the session's second: the first one pays for all who come after
/// it, where the machine has not used so much memory for a while.
fn on_request(session: &Session<'_>, sample: &mut Sample) -> anyhow::Result<()> {
    session.request_checkpoint()?;
    session.wait(Step::Commit, 0)?;
    rest();
    let seen = session.events().len();
    session.request_checkpoint()?;
    let events = session.wait(Step::Commit, seen)?;
    let frozen_s = took(&events, Step::Freeze)?;
    let saved_s = seconds(time(find(&events, Step::Trigger)?), time(find(&events, Step::Commit)?));
    let saved = [(Measure::Frozen, frozen_s), (Measure::Saved, saved_s), (Measure::Durable, saved_s)];
    sample.measures.extend(saved);
    let steps = [("dump", Step::Dump), ("pack the rest", Step::Pack), ("commit", Step::Commit)];
    for (name, step) in steps {
        sample.steps.push((name, took(&events, step)?));
    }
    sample.image_bytes = find(&events, Step::Commit)?.bytes.unwrap_or(0);
    Ok(())
}

/// A preemption, until the session answers on the other node.
fn preempted(session: &mut Session<'_>, workload: &Workload, sample: &mut Sample) -> anyhow::Result<()> {
    rest();
    let (seen, there) = (session.events().len(), session.other_node());
    let submitted = session.preempt()?;
    session.node = there.to_owned();
    let answered =
        session.server()?.first_answer(&session.kernel, Workload::question(), &workload.answer())?;
    let events = session.wait(Step::Resume, seen)?;
    ensure!(events.last().is_some_and(|event| event.node == there), "the session did not move");
    let verify = find(&events, Step::Verify)?;
    let begun = time(verify) - Duration::from_secs_f64(verify.seconds.unwrap_or(0.0));
    sample.measures.insert(Measure::Restored, seconds(begun, answered.at));
    sample.measures.insert(Measure::Moved, seconds(submitted, answered.at));
    move_steps(&events, submitted, begun, answered, sample)
}

/// Where the time of a move went, from end to end.
fn move_steps(
    events: &[Event],
    submitted: SystemTime,
    verify_begun: SystemTime,
    answered: Answered,
    sample: &mut Sample,
) -> anyhow::Result<()> {
    let at = |step| find(events, step).map(time);
    let spans = [
        ("submission to trigger", submitted, at(Step::Trigger)?),
        ("trigger to commit", at(Step::Trigger)?, at(Step::Commit)?),
        ("commit to requeue", at(Step::Commit)?, at(Step::Requeue)?),
        ("requeue to verify", at(Step::Requeue)?, verify_begun),
        ("verify", verify_begun, at(Step::Verify)?),
        ("capsule and CRIU restore", at(Step::Verify)?, at(Step::Restore)?),
        ("streams", at(Step::Restore)?, at(Step::Resume)?),
        ("answer", at(Step::Resume)?, answered.at),
    ];
    sample.steps.extend(spans.map(|(name, from, to)| (name, seconds(from, to))));
    let dump = [("of the move: dump", Step::Dump), ("its packing", Step::Pack), ("its commit", Step::Commit)];
    for (name, step) in dump {
        sample.steps.push((name, took(events, step)?));
    }
    sample.steps.push(("of that the successful attempt", answered.attempt_s));
    Ok(())
}

fn find(events: &[Event], step: Step) -> anyhow::Result<&Event> {
    events.iter().find(|event| event.step == step).with_context(|| format!("no event {step:?}"))
}

fn took(events: &[Event], step: Step) -> anyhow::Result<f64> {
    find(events, step)?.seconds.with_context(|| format!("the event {step:?} has no seconds"))
}
