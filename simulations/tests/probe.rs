//! scratch
use holm_simulations::*;
#[test]
#[ignore = "by hand"]
fn probe() {
    let file = std::env::var("SCENARIO").unwrap();
    let from: u64 = std::env::var("FROM").ok().and_then(|s| s.parse().ok()).unwrap_or(0);
    let n: u64 = std::env::var("N").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    let verbose = std::env::var("V").is_ok();
    let scenario = Scenario::load(std::path::Path::new(&file)).unwrap();
    let start = std::time::Instant::now();
    let mut failed = 0;
    for seed in from..from + n {
        let plan = scenario.expand(seed).unwrap();
        let t = std::time::Instant::now();
        let out = run(&plan, Options::default()).unwrap();
        if !out.passed() { failed += 1; }
        println!("seed {seed} {:?} sim {} hash {:x} violations {}", t.elapsed(), out.simulated.0, out.trace_hash, out.violations.len());
        for v in out.violations.iter().take(4) { println!("   {} at {} {:?} {}", v.invariant, v.at.0, v.hosts, v.detail); }
        if verbose {
            println!("{:#?}\n{:#?}\n{:?}\n{:?}", out.counters, out.marks, out.fired, out.timeline.heals);
            let filter = std::env::var("GREP").unwrap_or_default();
            for e in out.events.iter().filter(|e| filter.split('|').any(|f| format!("{e:?}").contains(f))) { println!("{:>7} {:?} {} {}", e.at.0, e.host.map(|h| plan.hosts[h.0 as usize].name.clone()), e.what, e.detail); }
        }
    }
    println!("{n} runs in {:?}, {failed} failed", start.elapsed());
}
