//! What members are believed to be, by what they say and when.

use super::*;
use holm_types::Incarnation;
use holm_types::manifest::Amounts;

const NODE: NodeId = NodeId([7; 32]);

fn at(ms: u64) -> Mono {
    Mono(Duration::from_millis(ms))
}

fn beat(incarnation: u64, seq: u64) -> Presence {
    Presence {
        node: NODE,
        incarnation: Incarnation::new(incarnation, 0),
        seq,
        every_ms: 1000,
        free: Some(Amounts::default()),
        running: Some(0),
        addresses: Some(vec![]),
        leaving: false,
        calls: false,
        chain: None,
    }
}

fn expecting() -> Members {
    let mut members = Members::new(Config::default());
    members.expect(NODE, true, at(0));
    members
}

#[test]
fn words_that_are_no_heartbeat_put_off_a_death_and_gossip_only_once() {
    let mut members = Members::new(Config::default());
    let node = NodeId([7; 32]);
    let at = |ms: u64| Mono(Duration::from_millis(ms));
    members.expect(node, true, at(0));
    members.tick(at(4_000));
    members.spoke(&node, false, at(4_000));
    members.tick(at(8_000));
    assert_eq!(members.liveness(&node), Some(Liveness::Suspect), "put off");
    members.spoke(&node, false, at(8_000));
    members.spoke(&node, true, at(8_100));
    members.tick(at(12_000));
    assert_eq!(members.liveness(&node), Some(Liveness::Suspect), "heard directly");
    members.spoke(&node, false, at(12_000));
    members.tick(at(12_700));
    assert_eq!(members.liveness(&node), Some(Liveness::Dead), "gossip puts off no second time");
    members.spoke(&node, true, at(12_800));
    assert_eq!(members.liveness(&node), Some(Liveness::Dead), "only a heartbeat brings it back");
}

#[test]
fn silence_makes_suspect_then_dead_and_a_heartbeat_brings_it_back() {
    let mut members = expecting();
    assert!(members.heard(beat(1, 1), at(100)));
    assert_eq!(members.drain_changes(), [(NODE, Liveness::Alive)]);
    let suspect_at = members.deadline().unwrap();
    assert_eq!(suspect_at, at(2600));
    members.tick(at(2599));
    assert_eq!(members.drain_changes(), []);
    members.tick(suspect_at);
    assert_eq!(members.drain_changes(), [(NODE, Liveness::Suspect)]);
    members.tick(members.deadline().unwrap());
    assert_eq!(members.drain_changes(), [(NODE, Liveness::Dead)]);
    assert_eq!(members.deadline(), None);
    assert_eq!(members.dead_for(at(5600))[&NODE], Duration::from_secs(1));
    assert!(members.heard(beat(1, 2), at(9000)), "a dead peer that speaks again is alive");
    assert_eq!(members.drain_changes(), [(NODE, Liveness::Alive)]);
    assert!(members.dead_for(at(9000)).is_empty());
}

#[test]
fn returns_from_the_dead_are_counted_for_ten_minutes() {
    let mut members = expecting();
    members.tick(at(5_000));
    assert_eq!(members.liveness(&NODE), Some(Liveness::Dead));
    assert!(members.heard(beat(1, 1), at(5_000)));
    assert!(members.flaps(at(5_000)).is_empty(), "it was never heard before: it has only begun late");
    for n in 1..=20 {
        let now = at(n * 10_000);
        members.tick(now);
        assert!(members.heard(beat(1, 1 + n), now));
        assert_eq!(members.flaps(now)[&NODE], u32::try_from(n.min(8)).unwrap());
    }
    assert!(members.heard(beat(1, 22), at(201_000)));
    assert_eq!(members.flaps(at(201_000))[&NODE], 8, "a node that is alive does not return");
    let last = at(200_000).after(FLAP_MEMORY);
    assert_eq!(members.flaps(at(799_999))[&NODE], 1);
    assert!(members.flaps(last).is_empty());
}

#[test]
fn an_old_or_repeated_heartbeat_changes_nothing() {
    let mut members = expecting();
    assert!(members.heard(beat(2, 5), at(0)));
    members.tick(at(60_000));
    for (incarnation, seq) in [(2, 5), (2, 4), (1, 900)] {
        assert!(!members.heard(beat(incarnation, seq), at(60_000)));
    }
    assert_eq!(members.liveness(&NODE), Some(Liveness::Dead));
    assert!(members.heard(beat(3, 1), at(60_001)), "a restart begins again at 1");
}

#[test]
fn what_a_heartbeat_leaves_out_is_as_it_was_in_this_life() {
    let mut members = expecting();
    let brief = |incarnation, seq| Presence { running: None, addresses: None, free: None, ..beat(incarnation, seq) };
    assert!(members.heard(Presence { running: Some(3), ..beat(1, 1) }, at(0)));
    assert!(members.heard(Presence { free: Some(Amounts { cpu: 7, ..Amounts::default() }), ..brief(1, 2) }, at(1)));
    assert!(members.heard(brief(1, 3), at(2)));
    let known = members.presence(&NODE).unwrap();
    assert_eq!((known.running, known.free.as_ref().unwrap().cpu, known.seq), (Some(3), 7, 3));
    assert!(members.heard(brief(2, 1), at(3)));
    assert!(!members.presence(&NODE).unwrap().is_full(), "another life has said nothing yet");
}

#[test]
fn who_speaks_seldom_is_to_answer_a_roll_call() {
    let mut members = expecting();
    let quiet = |seq| Presence { every_ms: 120_000, ..beat(1, seq) };
    assert!(members.heard(quiet(1), at(0)));
    members.tick(at(100_000));
    members.roll_call(at(100_000), |node| *node != NODE);
    members.tick(at(104_000));
    assert_eq!(members.liveness(&NODE), Some(Liveness::Alive), "another was called");
    members.roll_call(at(104_000), |_| true);
    members.roll_call(at(105_000), |_| true);
    members.tick(at(105_200));
    assert_eq!(members.liveness(&NODE), Some(Liveness::Suspect), "since the first call");
    assert!(members.heard(quiet(2), at(106_000)));
    members.tick(at(200_000));
    assert_eq!(members.liveness(&NODE), Some(Liveness::Alive), "it has answered");
    members.roll_call(at(200_000), |_| true);
    members.tick(at(202_500));
    assert_eq!(members.liveness(&NODE), Some(Liveness::Dead));
    assert!(members.heard(quiet(3), at(203_000)));
    members.roll_call(at(210_000), |_| true);
    members.spoke(&NODE, true, at(211_000));
    members.tick(at(220_000));
    assert_eq!(members.liveness(&NODE), Some(Liveness::Alive), "words over a connection are an answer");
}

#[test]
fn a_partner_is_missed_sooner_than_one_who_speaks_seldom() {
    let mut members = expecting();
    members.beat(&NODE, Incarnation::new(1, 0), 1_000, at(0));
    assert_eq!(members.liveness(&NODE), Some(Liveness::Suspect), "nothing is known of that life yet");
    assert!(members.heard(Presence { every_ms: 120_000, ..beat(1, 1) }, at(0)));
    members.beat(&NODE, Incarnation::new(1, 0), 1_000, at(1_000));
    assert!(members.heard(Presence { every_ms: 120_000, ..beat(1, 2) }, at(1_100)));
    assert_eq!(members.deadline(), Some(at(3_100)), "its heartbeats to everybody do not end its beats");
    members.tick(at(3_100));
    assert_eq!(members.liveness(&NODE), Some(Liveness::Suspect));
    members.tick(at(5_600));
    assert_eq!(members.liveness(&NODE), Some(Liveness::Dead));
    members.beat(&NODE, Incarnation::new(2, 0), 1_000, at(6_000));
    assert_eq!(members.liveness(&NODE), Some(Liveness::Dead));
    members.beat(&NODE, Incarnation::new(1, 0), 1_000, at(6_000));
    assert_eq!((members.liveness(&NODE), members.flaps(at(6_000))[&NODE]), (Some(Liveness::Alive), 1));
    members.beat(&NODE, Incarnation::new(1, 0), 0, at(7_000));
    members.tick(at(120_000));
    assert_eq!(members.liveness(&NODE), Some(Liveness::Alive), "it is no partner any more");
}

#[test]
fn a_member_that_never_speaks_is_suspect_first_and_dead_later() {
    let mut members = expecting();
    assert_eq!(members.liveness(&NODE), Some(Liveness::Suspect));
    members.tick(at(4499));
    assert_eq!(members.liveness(&NODE), Some(Liveness::Suspect));
    members.tick(at(4500));
    assert_eq!(members.liveness(&NODE), Some(Liveness::Dead));
}

#[test]
fn a_lost_connection_alone_kills_nobody() {
    let mut members = expecting();
    members.heard(beat(1, 1), at(0));
    members.disconnected(&NODE, at(10));
    assert_eq!(members.liveness(&NODE), Some(Liveness::Suspect));
    members.heard(beat(1, 2), at(900));
    assert_eq!(members.liveness(&NODE), Some(Liveness::Alive));
}

#[test]
fn the_rate_heard_stays_bounded_as_the_mesh_grows() {
    let mut members = Members::new(Config::default());
    for n in 0..200u8 {
        members.expect(NodeId([n; 32]), true, at(0));
    }
    assert_eq!(members.interval(), Duration::from_secs(10));
    for n in 200..250u8 {
        members.expect(NodeId([n; 32]), false, at(0));
    }
    assert_eq!(members.interval(), Duration::from_secs(10), "who hears other heartbeats does not count");
    assert_eq!(members.far_share(), 1, "51 of them speak every 5.1 s");
    for n in 0..=255u8 {
        members.expect(
            NodeId([n, 1, 1, 1, n, 1, 1, 1, n, 1, 1, 1, n, 1, 1, 1, n, 1, 1, 1, n, 1, 1, 1, n, 1, 1, 1, n, 1, 1, 1]),
            false,
            at(0),
        );
    }
    assert_eq!(members.far_share(), 4, "307 speak every 30.7 s, each fourth of their heartbeats");
    let mut slow = beat(1, 1);
    slow.every_ms = 10_000;
    members.heard(slow, at(0));
    members.tick(at(20_000));
    assert_eq!(members.liveness(&NODE), Some(Liveness::Alive), "judged by the interval that it announced");
}
