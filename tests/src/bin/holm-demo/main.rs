//! `make demo`: five real nodes, a service, a job on real texts, a dead node, a cut cloud, and a heal.
//! Every line that it prints has happened; every time was measured; if a step fails, so does the demo.

mod input;
mod story;
mod timeline;

use anyhow::Result;
use holm_tests::{
    holds, interrupt,
    suite::{Place, Scene},
};
use std::{process::ExitCode, time::Duration};
use story::Story;
use timeline::{Timeline, say};

const HELP: &str = "\
holm-demo: five real nodes at two sites run a service and a job; one dies, the cloud is cut off, and the parts merge.
It takes no arguments and some 15 seconds. Everything it makes is gone at its end, also after Ctrl-C.

  KEEP=1     the mesh stays up afterwards, until Ctrl-C, to play with
  NO_COLOR=1 no colours";

fn main() -> ExitCode {
    if let Some(argument) = std::env::args().nth(1) {
        let asked = ["-h", "--help", "help"].contains(&argument.as_str());
        say!("{HELP}");
        return if asked { ExitCode::SUCCESS } else { ExitCode::from(3) };
    }
    let timeline = Timeline::new();
    match run(&timeline) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if interrupt::asked() => {
            timeline.note("stopped; every process and namespace of the demo is gone");
            ExitCode::from(130)
        }
        Err(why) => {
            timeline.failure(&why);
            ExitCode::FAILURE
        }
    }
}

fn run(timeline: &Timeline) -> Result<()> {
    interrupt::install()?;
    let scene = Scene::new(Place::best())?;
    let mut story = Story::begin(&scene, timeline)?;
    story.deploy_a_service()?;
    story.count_words_while_a_node_dies()?;
    story.bring_the_node_back()?;
    story.cut_the_cloud()?;
    story.heal()?;
    timeline.end();
    if std::env::var("KEEP").is_ok_and(|keep| !keep.is_empty() && keep != "0") {
        story.explain_how_to_play();
        // Until Ctrl-C, which is how this wait is meant to end.
        let _ = holds("the mesh stays up", Duration::MAX, || Ok(()));
    }
    scene.passed();
    Ok(())
}
