//! The lab's own tests: before anyone blames what runs in it, the network must be what it says it is.
//!
//! They need root, and say so where they cannot run; with `NETLAB=require` that counts as failed.

mod by_hand;
mod cable;
mod life;
mod links;
mod nat;
mod stun;
mod upnp;

use anyhow::Result;
use libtest_mimic::{Arguments, Completion, Trial};

type Story = fn() -> Result<()>;

/// What a test needs.
#[derive(Clone, Copy)]
enum Needs {
    Lab,
    Cables,
    /// `miniupnpd`, which is a wish even where the lab is required.
    Upnp,
}

fn main() {
    let no_lab = holm_netlab::unavailable();
    let no_cables = no_lab.clone().or_else(holm_netlab::cable::unavailable);
    let no_upnp = no_lab.clone().or_else(holm_netlab::upnp_unavailable);
    let required = std::env::var("NETLAB").is_ok_and(|value| value == "require");
    let trials = [nat::trials(), links::trials(), cable::trials(), life::trials(), upnp::trials(), by_hand::trials()]
        .concat()
        .into_iter();
    let trials = trials.map(|(name, needs, story)| {
        let missing = match needs {
            Needs::Lab => no_lab.clone(),
            Needs::Cables => no_cables.clone(),
            Needs::Upnp => no_upnp.clone(),
        };
        let required = required && !matches!(needs, Needs::Upnp);
        Trial::ignorable_test(name, move || match missing {
            Some(why) if required => Err(format!("NETLAB=require, but {why}").into()),
            Some(why) => Ok(Completion::ignored_with(why)),
            None => story().map(|()| Completion::Completed).map_err(|why| format!("{why:#}").into()),
        })
    });
    let mut arguments = Arguments::from_args();
    // Times are measured: one after another.
    arguments.test_threads.get_or_insert(1);
    libtest_mimic::run(&arguments, trials.collect()).exit()
}
