//! Whole runs: what must hold whatever the policy and the scenario, and that threads change nothing.

use proptest::prelude::*;
use stasis_policy::Policy;
use stasis_sim::model::metrics::{Cause, Metrics};
use stasis_sim::model::spec::SpotSpec;
use stasis_sim::model::world;
use stasis_sim::replicate::{Amount, Watch, all};
use stasis_sim::result::RunResult;
use stasis_sim::scenario::{Prepared, Scenario};
use stasis_workloads::{Interval, Law, MemoryStep, NS_PER_S, Request, Session};
use std::path::Path;
use std::sync::atomic::AtomicBool;

const SMALL: &str = include_str!("../scenarios/small.toml");
const CLUSTER: &str = include_str!("../scenarios/cluster.toml");

fn prepared(text: &str) -> Prepared {
    Scenario::parse(Path::new("test.toml"), text)
        .expect("a scenario")
        .prepare(Path::new("."))
        .expect("prepared")
}

fn policy(text: &str) -> Policy {
    toml::from_str(text).expect("a policy")
}

fn run(prepared: &Prepared, sessions: Vec<Session>) -> Metrics {
    let mut sessions = sessions.into_iter().map(Ok);
    world::run(&prepared.setup(0), &mut sessions, &mut std::iter::empty()).expect("a run").metrics
}

fn seconds(s: u64) -> u64 {
    s * NS_PER_S
}

/// A session of a user who runs cells of these (start, end) seconds.
fn session(id: u64, end_s: u64, cells: &[(u64, u64)], bytes: u64) -> Session {
    let busy = cells.iter().map(|&(start, end)| Interval { start_ns: seconds(start), end_ns: seconds(end) });
    let submit_ns = cells.first().map_or(0, |cell| seconds(cell.0));
    Session {
        id,
        user: id as u32,
        submit_ns: submit_ns.min(seconds(end_s) - 1),
        end_ns: seconds(end_s),
        request: Request { cores_milli: 2000, gpus: 0, memory_bytes: 8_000_000_000 },
        busy: busy.collect(),
        memory: Box::new([MemoryStep { at_ns: submit_ns, bytes }]),
        connected: Box::default(),
    }
}

/// The small scenario with an exact cost model, a machine at once and nothing random.
fn plain(policy_text: &str) -> Prepared {
    let mut prepared = prepared(SMALL);
    let scenario = &mut prepared.scenario;
    scenario.policy = policy(policy_text);
    scenario.cost.dump_fixed_s = 1.0;
    scenario.cost.dump_bytes_per_s = 1e9;
    scenario.cost.restore_fixed_s = 2.0;
    scenario.cost.restore_bytes_per_s = 1e9;
    scenario.cost.image_bytes_per_resident_byte = 1.0;
    scenario.cost.requeue_s = 3.0;
    scenario.store.bandwidth_bytes_per_s = 1e9;
    scenario.people.cold_start_s = 5.0;
    let cloud = scenario.cloud.as_mut().expect("a cloud");
    cloud.boot_s = 10.0;
    cloud.spot = None;
    prepared
}

fn spot(notice_s: f64, life_s: f64) -> SpotSpec {
    SpotSpec {
        price_ratio: 0.5,
        notice_s,
        lifetime: Some(Law::Constant { value_s: life_s }),
        capacity: None,
        availability: None,
        machines_per_instance: 1,
    }
}

#[test]
fn results_are_the_same_bit_for_bit_at_any_number_of_threads() {
    for text in [SMALL, CLUSTER] {
        let mut prepared = prepared(text);
        prepared.scenario.policy.idle = policy("idle.randomised-ski-rental = {}").idle;
        let at = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            let stop = AtomicBool::new(false);
            let watch = Watch { done: &|| (), stop: &stop };
            let runs = pool.install(|| all(&prepared, Amount::Fixed(5), &watch)).expect("runs");
            serde_json::to_string(&RunResult::new(prepared.scenario.clone(), &runs, None)).expect("json")
        };
        let one = at(1);
        assert_eq!(one, at(2));
        assert_eq!(one, at(7));
    }
}

#[test]
fn a_session_by_hand_suspended_and_resumed() {
    // boot 10 + start 5, cell 20 s; idle 60 s, then a dump of 1 + 4 s; the user is back 1000 s after the cell,
    // boot 10 + restore 2 + 4 s; cell 10 s; the end is 100 s later, of which 60 idle and 5 for the dump.
    let prepared = plain("idle.suspend-after = { after_s = 60 }");
    let metrics = run(&prepared, vec![session(1, 1130, &[(0, 20), (1020, 1030)], 4_000_000_000)]);
    let found = |cause| (metrics.hours(cause) * 3600.0).round() as u64;
    assert_eq!(found(Cause::Busy), 30);
    assert_eq!(found(Cause::Idle), 60 + 60);
    assert_eq!(found(Cause::Boot), 10 + 5 + 10);
    assert_eq!(found(Cause::Dump), 5 + 5);
    assert_eq!(found(Cause::Restore), 6);
    assert_eq!((metrics.suspends, metrics.cells, metrics.sessions), (2, 2, 1));
    assert_eq!((metrics.start_wait.summary().max_s, metrics.resume_wait.summary().max_s), (15.0, 16.0));
    // 31 s of waiting push the end back
    assert_eq!(metrics.end_ns, seconds(1130 + 31));
}

#[test]
fn the_race_between_notice_and_image_and_what_is_lost() {
    // Machines live 100 s and are announced 20 s before. The image takes 1 s + 4 s alone.
    let with = |notice_s, policy_text: &str, count: u64| {
        let mut prepared = plain(policy_text);
        prepared.scenario.cloud.as_mut().expect("a cloud").spot = Some(spot(notice_s, 100.0));
        let sessions = (0..count).map(|id| session(id, 500, &[(0, 300)], 4_000_000_000)).collect();
        run(&prepared, sessions)
    };
    let spot_first = "placement.market.spot-first = {}\n";
    let alone = with(20.0, &format!("{spot_first}timing.on-notice = {{}}"), 1);
    assert_eq!((alone.lost_ns, alone.notice_dumps_late, alone.sessions_killed), (0, 0, 0));
    assert!(alone.preemptions == 0 && alone.notice_dumps > 0);
    // Six at once share the store: 24 s for all, and only 20 are left.
    let crowd = with(20.0, &format!("{spot_first}timing.on-notice = {{}}"), 6);
    assert!(
        crowd.notice_dumps_late >= 6 && crowd.lost_ns > 0,
        "{} {}",
        crowd.notice_dumps_late,
        crowd.lost_ns
    );
    // Without notice, and without images, a cell of 300 s never ends on such machines; with images it does.
    let interval = with(0.0, &format!("{spot_first}timing.fixed.interval_s = 20"), 1);
    assert_eq!((interval.sessions, interval.cells), (1, 1));
    assert!(interval.hours(Cause::Lost) > 0.0 && interval.cells_interrupted > 0);
    assert!((interval.hours(Cause::Busy) * 3600.0 - 300.0).abs() < 1e-6);
}

#[test]
fn killing_idle_sessions_makes_users_run_their_cells_again() {
    let prepared = plain("idle.kill-after = { after_s = 60 }\ntiming.never = {}");
    let metrics = run(&prepared, vec![session(1, 1100, &[(0, 20), (1020, 1030)], 1_000_000_000)]);
    assert_eq!((metrics.sessions_killed, metrics.cells_rerun), (2, 1 + 2)); // and once more before the end
    assert!((metrics.hours(Cause::Lost) * 3600.0 - 20.0).abs() < 1e-6);
    assert_eq!(metrics.lost_ns, u128::from(seconds(20 + 30)));
    assert_eq!(metrics.written_bytes, 0);
}

#[test]
fn predictions_separate_users_with_long_pauses_from_those_with_short_ones() {
    // B is 6 + 3 (restore) + 10 * (13 + 3): pauses of 120 s are below it, of 2000 s above.
    let cells = |pause: u64| (0..20).map(|i| (i * (pause + 10), i * (pause + 10) + 10)).collect::<Vec<_>>();
    let suspends = |idle: &str, pause| {
        let end_s = 20 * (pause + 10);
        run(&plain(idle), vec![session(1, end_s, &cells(pause), 1_000_000_000)]).hours(Cause::Idle)
    };
    assert!(
        suspends("idle.predicted = { trust = 0.2 }", 2000) < 0.5 * suspends("idle.ski-rental = {}", 2000)
    );
}

#[test]
fn a_session_that_outgrows_its_machine_moves() {
    let mut prepared = plain("placement.size.right-size = {}");
    prepared.scenario.people.cores_used_share = 0.2;
    let mut big = session(1, 2000, &[(0, 20), (100, 120), (200, 220), (900, 910)], 1_000_000_000);
    // After its first life it would get a small machine; a second session of the same user does.
    let mut second = session(2, 6000, &[(3000, 3020), (3100, 3120), (3900, 3910)], 1_000_000_000);
    (big.user, second.user) = (7, 7);
    second.memory = Box::new([
        MemoryStep { at_ns: seconds(3000), bytes: 1_000_000_000 },
        MemoryStep { at_ns: seconds(3110), bytes: 6_000_000_000 },
    ]);
    let metrics = run(&prepared, vec![big, second]);
    assert_eq!((metrics.resizes, metrics.cells), (1, 7));
    assert!(metrics.total_money() < metrics.baseline_money);
}

#[test]
fn more_sessions_than_spot_machines_wait_or_buy_on_demand() {
    let patient = |wait_s: u32| {
        let mut prepared = plain(&format!("placement.market.spot-first = {{ wait_s = {wait_s} }}"));
        let spot = SpotSpec { lifetime: None, capacity: Some(2), ..spot(20.0, 1.0) };
        prepared.scenario.cloud.as_mut().expect("a cloud").spot = Some(spot);
        run(&prepared, (0..4).map(|id| session(id, 600, &[(0, 500)], 1_000_000_000)).collect())
    };
    let (now, later) = (patient(0), patient(100_000));
    let on_demand_h = |metrics: &Metrics| metrics.machine_ns[0][Cause::Busy as usize];
    assert!(on_demand_h(&now) == u128::from(seconds(1000)) && on_demand_h(&later) == 0);
    assert!(later.hours(Cause::Queue) > 0.0 && later.sessions == 4);
}

#[test]
fn on_a_cluster_sessions_make_room_for_batch_jobs_and_come_back() {
    let prepared = prepared(CLUSTER);
    let outcome = world::run(
        &prepared.setup(0),
        &mut prepared.sessions(0).expect("sessions"),
        &mut prepared.jobs(0).expect("jobs"),
    );
    let metrics = outcome.expect("a run").metrics;
    assert!(metrics.notice_dumps > 100 && metrics.batch_jobs > 500, "{}", metrics.notice_dumps);
    assert_eq!(metrics.sessions_stuck, 0);
    assert_eq!(metrics.unfinished_ns, 0);
}

#[test]
fn work_that_is_longer_than_machines_live_is_given_up_and_said_so() {
    let mut prepared = plain("placement.market.spot-first = {}\ntiming.never = {}");
    prepared.scenario.cloud.as_mut().expect("a cloud").spot = Some(spot(0.0, 100.0));
    let metrics = run(&prepared, vec![session(1, 500, &[(0, 300)], 1_000_000_000)]);
    assert_eq!((metrics.sessions, metrics.cells), (1, 0));
    assert_eq!(metrics.unfinished_ns, u128::from(seconds(300 - 85))); // boot and start take 15 of 100
}

fn policies() -> impl Strategy<Value = String> {
    let timing = prop_oneof![
        Just("timing.never = {}"),
        Just("timing.on-notice = {}"),
        Just("timing.on-notice = { margin_s = 2.0 }"),
        Just("timing.fixed.interval_s = 30"),
        Just("timing.daly.mtbf_s = 600"),
        Just("timing.exact.mtbf_s = 600"),
        Just("timing.hazard.lifetime.weibull = { shape = 0.7, scale_s = 600 }"),
        Just("timing.notice-and-interval = { interval.young.mtbf_s = 300 }"),
    ];
    let idle = prop_oneof![
        Just("idle.always-on = {}"),
        Just("idle.kill-after = { after_s = 50 }"),
        Just("idle.suspend-after = { after_s = 0 }"),
        Just("idle.suspend-after = { after_s = 40, signal = 'both' }"),
        Just("idle.suspend-after = { after_s = 40, signal = 'browser' }"),
        Just("idle.ski-rental = {}"),
        Just("idle.randomised-ski-rental = {}"),
        Just("idle.predicted = {}"),
    ];
    let market = prop_oneof![
        Just("placement.market.on-demand-only = {}"),
        Just("placement.market.spot-first = { wait_s = 20 }"),
        Just("placement.market.greedy = {}"),
        Just("placement.market.uniform-progress = {}"),
    ];
    let size = prop_oneof![Just(""), Just("placement.size.right-size = {}")];
    (timing, idle, market, size).prop_map(|(t, i, m, s)| format!("{t}\n{i}\n{m}\n{s}\n"))
}

fn sessions() -> impl Strategy<Value = Vec<Session>> {
    let cells = prop::collection::vec((0u64..1500, 1u64..200), 0..8);
    let one = (0u64..400, cells, 1u64..500, 100_000_000u64..8_000_000_000, any::<bool>());
    prop::collection::vec(one, 1..12).prop_map(|list| {
        let mut submit_s = 0;
        let mut all = Vec::new();
        for (id, (gap_s, cells, linger_s, bytes, watched)) in (0..).zip(list) {
            submit_s += gap_s;
            let mut at_s = submit_s;
            let busy: Vec<Interval> = cells
                .iter()
                .map(|&(think_s, run_s)| {
                    let start_s = at_s + think_s;
                    at_s = start_s + run_s;
                    Interval { start_ns: seconds(start_s), end_ns: seconds(at_s) }
                })
                .collect();
            let end_ns = seconds(at_s + linger_s);
            let connected: Vec<Interval> = busy
                .iter()
                .filter(|_| watched)
                .map(|cell| Interval {
                    start_ns: cell.start_ns,
                    end_ns: cell.start_ns + (cell.end_ns - cell.start_ns) / 2,
                })
                .collect();
            all.push(Session {
                id,
                user: (id % 3) as u32,
                submit_ns: seconds(submit_s),
                end_ns,
                request: Request { cores_milli: 2000, gpus: 0, memory_bytes: 8_000_000_000 },
                busy: busy.into(),
                memory: Box::new([MemoryStep { at_ns: seconds(submit_s), bytes }]),
                connected: connected.into(),
            });
        }
        all
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Whatever the policy and however machines die: every session ends, all planned computing is done once
    /// (or counted as left undone), and no policy costs less than the bound.
    #[test]
    fn work_is_done_once_and_the_bound_holds(
        text in policies(),
        trace in sessions(),
        life_s in 4000.0..9000.0_f64,
        notice_s in prop_oneof![Just(0.0), 1.0..60.0_f64],
        capacity in prop::option::of(1u32..4),
    ) {
        let mut prepared = plain(&text);
        let cloud = prepared.scenario.cloud.as_mut().expect("a cloud");
        cloud.spot = Some(SpotSpec { capacity, ..spot(notice_s, life_s) });
        prepared.scenario.people.rerun_share = 1.0;
        for session in &trace {
            session.validate().expect("valid");
        }
        let planned_ns: u128 = trace.iter().map(|s| u128::from(s.busy_ns())).sum();
        let count = trace.len() as u64;
        let metrics = run(&prepared, trace);
        prop_assert_eq!((metrics.sessions, metrics.sessions_stuck), (count, 0));
        let busy_ns: u128 = metrics.machine_ns.iter().map(|row| row[Cause::Busy as usize]).sum();
        prop_assert_eq!(busy_ns + metrics.unfinished_ns, planned_ns);
        prop_assert!(metrics.total_money() >= metrics.bound_money * (1.0 - 1e-9),
            "money {} bound {}", metrics.total_money(), metrics.bound_money);
        prop_assert!(metrics.felt_money() >= metrics.bound_felt * (1.0 - 1e-9),
            "felt {} bound {}", metrics.felt_money(), metrics.bound_felt);
    }
}
