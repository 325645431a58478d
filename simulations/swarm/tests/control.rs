//! Timers, clocks and entropy are under control in this build, and only where they should be.

use holm_swarm::{SwarmError, runtime, selftest};
use std::time::{Duration, Instant, SystemTime};

#[test]
fn the_selftest_holds() {
    selftest::check().unwrap();
}

#[test]
fn a_simulation_sees_virtual_time_and_its_neighbours_do_not() {
    let real = Instant::now();
    let (mono, date) = runtime::run(1, || async {
        let (start, date) = (Instant::now(), SystemTime::now());
        tokio::time::sleep(Duration::from_secs(86_400)).await;
        (start.elapsed(), date.elapsed().unwrap())
    })
    .unwrap();
    assert_eq!((mono, date), (Duration::from_secs(86_400), Duration::from_secs(86_400)));
    assert!(real.elapsed() < Duration::from_secs(60), "the day did not pass here");
}

#[test]
fn a_panic_in_a_simulation_is_told() {
    let outcome: Result<(), SwarmError> = runtime::run(1, || async { panic!("as a bug would") });
    assert!(matches!(&outcome, Err(SwarmError::Panicked(text)) if text == "as a bug would"), "{outcome:?}");
}
