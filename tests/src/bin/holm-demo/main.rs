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
use timeline::Timeline;

fn main() -> ExitCode {
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
