use super::*;
use proptest::prelude::*;

fn rules() -> Rules {
    let ms = Duration::from_millis;
    Rules { backoff: Backoff { base: ms(10), cap: ms(80), reset_after: ms(1000) }, max_tasks: 3, max_dirs: 2 }
}

fn id(n: u8) -> TaskId {
    format!("t-{n}").parse().expect("an id")
}

fn spec(n: u8, restart: RestartPolicy) -> TaskSpec {
    TaskSpec {
        id: id(n),
        command: vec!["x".into()],
        env: BTreeMap::new(),
        restart,
        grace: Duration::from_millis(50),
        lease: None,
        max_log_bytes: 1,
    }
}

fn at(ms: u64) -> Mono {
    Mono(Duration::from_millis(ms))
}

fn exit(code: i32) -> Exit {
    Exit { code, finished_at: Wall(0), reason: None, lease_ended: false }
}

fn launched(n: u8) -> Input {
    let process = Process { pid: 100 + u32::from(n), start: 1 };
    Input::Launched { id: id(n), result: Ok((process, Wall(0))) }
}

fn not_started() -> NotStarted {
    NotStarted { reason: "no".into(), of_the_host: false, lease_ended: false }
}

fn ended(n: u8, code: i32) -> Input {
    Input::Ended { id: id(n), exit: exit(code), output: Vec::new() }
}

#[test]
fn term_comes_after_the_mark_and_kill_after_the_grace() {
    let mut table = Table::new(rules());
    table.handle(at(0), Input::Run(spec(1, RestartPolicy::Always)));
    table.handle(at(0), launched(1));
    let effects = table.handle(at(5), Input::Stop(id(1)));
    let Effect::Terminate { progress, process, .. } = &effects[0] else { panic!("{effects:?}") };
    assert!(progress.stopping && process.is_some());
    assert_eq!(table.handle(at(6), Input::Stop(id(1))), []);
    assert_eq!(table.next_deadline(), Some(at(55)));
    assert_eq!(table.expire(at(54)), []);
    assert!(matches!(table.expire(at(55))[..], [Effect::Kill { .. }]));
    let effects = table.handle(at(56), ended(1, 137));
    assert!(matches!(effects[..], [Effect::Emit(RunnerEvent::Ended { will_restart_in: None, .. })]));
    assert_eq!(table.next_deadline(), None);
}

#[test]
fn a_healthy_run_resets_the_wait_even_across_agents() {
    let mut table = Table::new(rules());
    let found = |ran| FoundTask {
        spec: spec(1, RestartPolicy::Always),
        progress: Progress { restarts: 7, streak: 3, stopping: false },
        ran: Duration::from_millis(ran),
    };
    assert_eq!(table.resume(at(0), found(10), exit(1), vec![]), Some(Duration::from_millis(80)));
    let mut table = Table::new(rules());
    assert_eq!(table.resume(at(0), found(1000), exit(1), vec![]), Some(Duration::from_millis(10)));
    let mut table = Table::new(rules());
    table.adopt(at(0), found(999), Process { pid: 101, start: 1 }, Wall(0));
    let effects = table.handle(at(1), ended(1, 0));
    let Effect::Emit(RunnerEvent::Ended { will_restart_in, restarts: 7, .. }) = &effects[0] else {
        panic!("{effects:?}")
    };
    assert_eq!(*will_restart_in, Some(Duration::from_millis(10)));
}

#[test]
fn a_stop_in_the_wait_keeps_the_bound_of_folders() {
    let mut table = Table::new(rules());
    let mut removed = 0;
    for n in 0..3 {
        table.handle(at(0), Input::Run(spec(n, RestartPolicy::Always)));
        table.handle(at(0), launched(n));
        table.handle(at(0), ended(n, 1));
        let effects = table.handle(at(0), Input::Stop(id(n)));
        removed += effects.iter().filter(|e| matches!(e, Effect::Remove { .. })).count();
    }
    assert_eq!((table.finished.len(), removed), (2, 1));
    assert_eq!(table.next_deadline(), None);
}

#[test]
fn a_lease_only_gets_longer_and_a_shim_that_is_being_started_hears_of_it_then() {
    let mut table = Table::new(rules());
    let extend = |until_ms| Input::Extend { id: id(1), until_ms };
    let told = |effects: &[Effect]| {
        let untils = effects.iter().filter_map(|effect| match effect {
            Effect::Extend { until_ms, .. } => Some(*until_ms),
            _ => None,
        });
        untils.collect::<Vec<_>>()
    };
    let leased = TaskSpec { lease: Some(100), ..spec(1, RestartPolicy::Always) };
    let effects = table.handle(at(0), Input::Run(leased));
    assert!(matches!(effects[..], [Effect::Launch { lease: Some(100), .. }]), "{effects:?}");
    assert_eq!(table.handle(at(1), extend(200)), []);
    assert_eq!(told(&table.handle(at(2), launched(1))), [200]);
    assert_eq!(told(&table.handle(at(3), extend(300))), [300]);
    assert_eq!(table.handle(at(4), extend(250)), []);
    table.handle(at(5), ended(1, 1));
    let effects = table.expire(at(50));
    assert!(matches!(effects[..], [Effect::Launch { lease: Some(300), .. }]), "{effects:?}");
    // It was killed for its lease, or was not started for it: its owner says whether it may again.
    let over = Input::Launched { id: id(1), result: Err(NotStarted { lease_ended: true, ..not_started() }) };
    let effects = table.handle(at(51), over);
    let told = |event: &RunnerEvent| {
        matches!(event, RunnerEvent::FailedToStart { lease_ended: true, will_restart_in: None, .. })
    };
    assert!(matches!(&effects[..], [Effect::Emit(event)] if told(event)), "{effects:?}");
    table.handle(at(60), Input::Run(spec(2, RestartPolicy::Always)));
    table.handle(at(60), launched(2));
    assert_eq!(table.handle(at(61), Input::Extend { id: id(2), until_ms: 9 }), [], "it has none");
}

#[derive(Debug, Clone)]
enum Step {
    Run(u8, RestartPolicy),
    Stop(u8),
    Forget(u8),
    /// The oldest launch comes back, well or not.
    Launch(bool),
    /// A running task ends.
    End(u8, i32),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let policy = prop_oneof![Just(RestartPolicy::Always), Just(RestartPolicy::OnFailure), Just(RestartPolicy::Never)];
    prop_oneof![
        (0u8..5, policy).prop_map(|(n, policy)| Step::Run(n, policy)),
        (0u8..5).prop_map(Step::Stop),
        (0u8..5).prop_map(Step::Forget),
        any::<bool>().prop_map(Step::Launch),
        (0u8..5, 0i32..2).prop_map(|(n, code)| Step::End(n, code)),
        (0u64..100).prop_map(Step::Pass),
    ]
}

/// What the shell would know: which tasks have a process or are about to.
#[derive(Default)]
struct Shell {
    launching: Vec<TaskId>,
    running: BTreeSet<TaskId>,
    folders: BTreeSet<TaskId>,
    stopped: BTreeSet<TaskId>,
}

impl Shell {
    fn carry_out(&mut self, effects: Vec<Effect>) -> Result<(), TestCaseError> {
        for effect in effects {
            match effect {
                Effect::Launch { spec, progress, .. } => {
                    let id = spec.id.clone();
                    prop_assert!(!self.running.contains(&id) && !self.launching.contains(&id), "two of {}", id);
                    if progress.restarts == 0 || !progress.stopping {
                        prop_assert!(!self.stopped.contains(&id), "{} was stopped", id);
                    }
                    self.folders.insert(id.clone());
                    self.launching.push(id);
                }
                Effect::Terminate { id, progress, process } => {
                    prop_assert!(progress.stopping);
                    prop_assert_eq!(process.is_some(), self.running.contains(&id));
                }
                Effect::Kill { process } => {
                    let id = id(u8::try_from(process.pid - 100).expect("small"));
                    prop_assert!(self.running.contains(&id));
                }
                Effect::Remove { id } => {
                    prop_assert!(!self.running.contains(&id) && !self.launching.contains(&id));
                    prop_assert!(self.folders.remove(&id));
                }
                Effect::Emit(RunnerEvent::Ended { id, will_restart_in, .. }) => {
                    prop_assert!(will_restart_in.is_none() || !self.stopped.contains(&id));
                }
                Effect::Emit(_) | Effect::Extend { .. } => {}
            }
        }
        Ok(())
    }
}

proptest! {
    /// Whatever happens in whatever order: never two processes of a task, none launched after it was asked to
    /// stop, no signal to and no removal under a task in the wrong state, and the bounds hold.
    #[test]
    fn laws(steps in proptest::collection::vec(step(), 1..120)) {
        let mut table = Table::new(rules());
        let mut shell = Shell::default();
        let mut now = at(0);
        for step in steps {
            let effects = match step {
                Step::Run(n, policy) => {
                    if !table.live.contains_key(&id(n)) {
                        shell.stopped.remove(&id(n));
                    }
                    table.handle(now, Input::Run(spec(n, policy)))
                }
                Step::Stop(n) => {
                    if table.live.contains_key(&id(n)) {
                        shell.stopped.insert(id(n));
                    }
                    table.handle(now, Input::Stop(id(n)))
                }
                Step::Forget(n) => table.handle(now, Input::Forget(id(n))),
                Step::Launch(well) if !shell.launching.is_empty() => {
                    let id = shell.launching.remove(0);
                    let n = id.as_str()[2..].parse().expect("a number");
                    if well {
                        shell.running.insert(id);
                        table.handle(now, launched(n))
                    } else {
                        table.handle(now, Input::Launched { id, result: Err(not_started()) })
                    }
                }
                Step::End(n, code) if shell.running.remove(&id(n)) => table.handle(now, ended(n, code)),
                Step::Pass(ms) => {
                    now = now.after(Duration::from_millis(ms));
                    table.expire(now)
                }
                _ => Vec::new(),
            };
            shell.carry_out(effects)?;
            prop_assert!(table.live.len() <= 3 && table.finished.len() <= 2);
            prop_assert!(table.deadlines.len() <= table.live.len());
            let waiting = table.live.values().filter(|t| matches!(t.phase, Phase::Waiting { .. }));
            prop_assert!(waiting.into_iter().all(|t| t.deadline.is_some() && !t.progress.stopping));
        }
    }
}
