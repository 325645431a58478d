//! Fenced apps, as whoever submits them sees it.

use holm_simulations::World;
use holm_types::marks;
use std::time::Duration;

const SEEDS: u64 = 20;
const PRESS: &str =
    "name = \"press\"\ntype = \"service\"\n[run.process]\ncommand = [\"press\"]\n[partition]\npolicy = \"fence\"";

/// Nodes that have just met cannot tell yet who has to guard an app. Whoever submits one then is not sent away: the node
/// does it when it can.
#[test]
fn a_fenced_app_is_taken_from_the_first_moment_on() {
    let mut waited = 0;
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        let hosts: Vec<_> = (0..3).map(|i| world.add(&format!("n-{i}"), &format!("s-{i}"))).collect();
        world.run(Duration::from_millis(50 + 100 * seed));
        if let Err(error) = world.apply(hosts[seed as usize % 3], PRESS) {
            assert!(error.to_string().starts_with("no answer within"), "seed {seed}: {error}");
        }
        world.run(Duration::from_secs(40));
        assert!(world.each_slot_once("press", 1), "seed {seed}: {:?}", world.runners("press"));
        assert!(world.violations().is_empty(), "seed {seed}: {:?}", world.violations());
        waited += marks::take().get("a submission waits for the node to know the mesh").copied().unwrap_or(0);
    }
    assert!(waited > 0, "all of them knew the mesh at once");
}
