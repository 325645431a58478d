use super::*;

/// A host with the given processes: (pid, parent, group, session, mark). The start time is ten times the pid.
fn host(processes: &[(u32, u32, u32, u32, Option<Mark>)]) -> Census {
    let entry = |(pid, parent, group, session, mark): &(u32, u32, u32, u32, Option<Mark>)| {
        let stat = format!("{pid} (x) S {parent} {group} {session} 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {}0 0", pid);
        (*pid, Entry { stat: Stat::parse(&stat).expect("a stat"), mark: mark.clone() })
    };
    Census { entries: processes.iter().map(entry).collect(), me: 100 }
}

fn shim(task: &str) -> Option<Mark> {
    Some(Mark::Shim(task.into()))
}

fn of(task: &str) -> Option<Mark> {
    Some(Mark::Task(task.into()))
}

fn pids_of(processes: &[Process]) -> Vec<u32> {
    processes.iter().map(|process| process.pid).collect()
}

#[test]
fn a_mark_is_of_one_owner_and_one_task() {
    let environ = b"PATH=/bin\0HOLM_TASK=web-0\0HOLM_MARK=/data/a/web-0\0X=\xff\0";
    assert_eq!(mark_of(environ, "/data/a"), of("web-0"));
    assert_eq!(mark_of(environ, "/data"), None);
    assert_eq!(mark_of(environ, "/data/b"), None);
    assert_eq!(mark_of(b"HOLM_SHIM=node/web-0", "node"), shim("web-0"));
    assert_eq!(mark_of(b"XHOLM_SHIM=node/web-0\0HOLM_MARK=node\0", "node"), None);
}

#[test]
fn the_command_is_the_first_child_with_a_group_in_the_session() {
    let orphans = [(23, 20, 23, 23, of("a")), (24, 20, 24, 20, of("a"))];
    let forked = (22, 20, 22, 20, shim("a"));
    let mut processes = vec![(20, 1, 20, 20, shim("a")), forked.clone()];
    let census = host(&processes);
    let found = census.shims("a");
    assert_eq!(pids_of(&found), [20], "a child before its exec is no second shim");
    assert_eq!(census.command_of(found[0]), None);
    processes.extend(orphans);
    processes.push((21, 20, 21, 20, None));
    assert_eq!(host(&processes).command_of(found[0]).map(|p| p.pid), Some(21));
}

#[test]
fn what_belongs_to_a_task_is_marked_or_hangs_on_what_is() {
    let census = host(&[
        (1, 0, 1, 1, None),
        (20, 100, 20, 20, shim("a")),
        (12, 20, 12, 20, of("a")),
        (13, 1, 13, 13, of("a")),  // a daemon
        (14, 13, 14, 14, None),    // its child, which cleared its environment
        (15, 1, 12, 20, None),     // an orphan in the group
        (16, 1, 16, 20, None),     // an orphan in the session
        (17, 14, 17, 17, of("b")), // another task, started from within
        (30, 1, 30, 30, of("b")),
        (31, 1, 31, 31, None),        // a stranger
        (100, 13, 100, 100, of("a")), // this very agent, started from within a task
        (101, 100, 101, 101, shim("b")),
    ]);
    assert_eq!(pids_of(&census.belongings("a", &[])), [20, 12, 13, 14, 15, 16]);
    assert_eq!(pids_of(&census.belongings("b", &[])), [101, 17, 30]);
    assert_eq!(census.tasks().into_iter().collect::<Vec<_>>(), ["a", "b"]);
    // A named process counts only if it is still the same.
    assert_eq!(pids_of(&census.belongings("c", &[Process { pid: 31, start: 310 }])), [31]);
    assert_eq!(census.belongings("c", &[Process { pid: 31, start: 311 }]), []);
}

#[test]
fn who_holds_a_file_is_found() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    assert_eq!(holders(file.path()), []);
    let stdin = file.reopen().expect("open");
    let mut child = std::process::Command::new("sleep").arg("1000").stdin(stdin).spawn().expect("a holder");
    let found = pids_of(&holders(file.path()));
    child.kill().expect("killed");
    child.wait().expect("waited");
    assert_eq!(found, [child.id()]);
}
