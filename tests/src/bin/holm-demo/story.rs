//! The story, chapter by chapter.

use crate::{
    input::{Input, top},
    timeline::{Timeline, say},
};
use anyhow::{Context, Result, ensure};
use holm_tests::{
    cluster::Cluster,
    eventually, http,
    lab::Host,
    node::{Node, SOON},
    rows::Task,
    suite::{Place, Scene},
};
use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

const HELLO_PORT: u16 = 18_080;
/// How long the job may take.
const JOB_WITHIN: Duration = Duration::from_secs(180);

/// The mesh and who watches it.
pub struct Story<'a> {
    scene: &'a Scene,
    say: &'a Timeline,
    mesh: Cluster,
    /// A host at the shop that is no node: a customer's telephone, say.
    visitor: Host,
    victim: String,
}

impl<'a> Story<'a> {
    /// Chapter 1: five nodes.
    ///
    /// # Errors
    /// They do not come up.
    pub fn begin(scene: &'a Scene, say: &'a Timeline) -> Result<Story<'a>> {
        say.chapter("Five nodes at two sites become a mesh");
        match scene.place() {
            Place::Lab => say.line("each node has a network namespace of its own; the sites are joined by a link"),
            Place::Loopback { why } => {
                say.line("all nodes share 127.0.0.1");
                say.note(&format!("{why}: so \"cut the cloud\" will mean that the cloud's nodes are killed"));
            }
        }
        let begin = Instant::now();
        let mut mesh = Cluster::of(scene)
            .node("cloud-1", "cloud")
            .keeper("cloud-2", "cloud")
            .node("till-1", "shop")
            .node("till-2", "shop")
            .node("till-3", "shop")
            .start()?;
        say.took("made the mesh, enrolled four nodes by token, and all see each other", begin.elapsed());
        say.line("$ holm node ls      (on till-1)");
        say.quote(&mesh.node("till-1").ok(&["node", "ls"])?);
        let visitor = mesh.new_host("shop")?;
        Ok(Story { scene, say, mesh, visitor, victim: String::new() })
    }

    fn cloud(&self) -> &Node {
        self.mesh.node("cloud-1")
    }

    fn till(&self) -> &Node {
        self.mesh.node("till-1")
    }

    /// Chapter 2: a service, and who answers.
    ///
    /// # Errors
    /// It does not run, or does not answer.
    pub fn deploy_a_service(&mut self) -> Result<()> {
        self.say.chapter("A service of three");
        let begin = Instant::now();
        self.cloud().apply(&filled(include_str!("../../../demo/hello.toml"), &[("python", &python()?)]))?;
        self.say.took("`holm apply -f hello.toml` on cloud-1 is durable there", begin.elapsed());
        let running = self.till().wait_running("hello", 3)?;
        self.say.took("three tasks run, says till-1, counted from the submission", begin.elapsed());
        for task in &running {
            self.say.line(&format!("from the shop: {}", self.fetch(task)?));
        }
        // Who dies next should have something to lose; till-1 and cloud-1 are the ones that we ask.
        let candidate = running.iter().rfind(|task| !["till-1", "cloud-1"].contains(&task.node.as_str()));
        self.victim = candidate.context("three tasks on three nodes")?.node.clone();
        Ok(())
    }

    /// Asks a task of `hello` from the visitor's host, over the network.
    fn fetch(&self, task: &Task) -> Result<String> {
        let slot = u16::try_from(task.slot)?;
        let at = SocketAddr::new(self.mesh.node(&task.node).host().address(), HELLO_PORT + slot);
        let answer = eventually(&format!("http://{at}/ answers"), Duration::from_secs(15), || {
            http::get(self.visitor.connect(at, Duration::from_secs(2))?, "/", "")
        })?;
        let text = answer.text();
        ensure!(text.contains(&task.node), "http://{at}/ should be {}, but says {text:?}", task.node);
        Ok(format!("http://{at}/ says \"{text}\""))
    }

    /// Chapter 3: a job on real texts, and a node that dies in the middle of it.
    ///
    /// # Errors
    /// The job is not done, or a result is wrong.
    pub fn count_words_while_a_node_dies(&mut self) -> Result<()> {
        let input = Input::collect(self.scene.folder("input")?)?;
        let texts = input.expected.len();
        self.say.chapter("A job on real texts, and a node dies in the middle of it");
        let values = [("python", python()?), ("tasks", texts.to_string()), ("input", shown(&input.folder))];
        let values: Vec<(&str, &str)> = values.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let begin = Instant::now();
        self.till().apply(&filled(include_str!("../../../demo/words.toml"), &values))?;
        self.say.line(&format!("till-1 takes the job: words of {texts} texts, {} bytes, one text a task", input.bytes));

        let done = eventually("a fifth of the job is done", JOB_WITHIN, || {
            let done = self.till().results("words")?.len();
            ensure!(done * 5 >= texts, "{done} of {texts}");
            Ok(done)
        })?;
        let before = self.till().running("hello")?;
        self.mesh.node(&self.victim).power_off()?;
        let death = Instant::now();
        self.say.line(&format!("{} loses power when {done} of {texts} are done (kill -9 of everything)", self.victim));

        let (mut job_done, mut replaced) = (None, None);
        let (results, after) = eventually("the job is done and hello is three again", JOB_WITHIN, || {
            let running = self.till().running("hello")?;
            let results = self.till().results("words")?;
            if running.len() == 3 && running.iter().all(|task| task.node != self.victim) {
                replaced.get_or_insert_with(|| death.elapsed());
            }
            if results.len() == texts {
                job_done.get_or_insert_with(|| begin.elapsed());
            }
            ensure!(replaced.is_some() && job_done.is_some(), "{} of {texts}, {running:?}", results.len());
            Ok((results, running))
        })?;
        self.say.took("three tasks of hello run again, counted from the death", replaced.unwrap_or_default());
        let kept = before.iter().filter(|task| task.node != self.victim).all(|task| after.contains(task));
        ensure!(kept, "a healthy task was disturbed: {before:?} has become {after:?}");
        self.say.holds("the others were not touched: same processes");
        self.say
            .took(&format!("all {texts} results are there, counted from the submission"), job_done.unwrap_or_default());
        let total = input.merge(&results)?;
        self.say.holds("each result equals a count made here; the most frequent words of all texts:");
        self.say.quote(&top(&total, 10));
        Ok(())
    }

    /// Chapter 4: the dead node returns.
    ///
    /// # Errors
    /// It does not, or its return disturbs something.
    pub fn bring_the_node_back(&mut self) -> Result<()> {
        self.say.chapter("The dead node returns");
        let before = self.till().running("hello")?;
        let begin = Instant::now();
        self.mesh.node(&self.victim).up()?;
        self.mesh.wait_acquainted()?;
        self.mesh.wait_converged()?;
        self.say.took(&format!("{} is back and knows what all others know", self.victim), begin.elapsed());
        eventually("all agree that nothing has moved", SOON, || {
            let now = self.mesh.running_everywhere("hello")?;
            ensure!(now == before, "{before:?} has become {now:?}");
            Ok(())
        })?;
        self.say.holds("hello still runs in the same three processes, and nowhere else");
        Ok(())
    }

    /// Chapter 5: the cloud is gone, and the shop goes on.
    ///
    /// # Errors
    /// It does not.
    pub fn cut_the_cloud(&mut self) -> Result<()> {
        self.say.chapter("The cloud is cut off");
        match self.scene.place() {
            Place::Lab => {
                self.mesh.lab()?.cut("cloud", "shop")?;
                self.say.line("the link between cloud and shop drops every packet, silently");
            }
            Place::Loopback { .. } => {
                for cloud in ["cloud-1", "cloud-2"] {
                    self.mesh.node(cloud).power_off()?;
                }
                self.say.line("there are no links to cut on 127.0.0.1, so both cloud nodes are killed");
            }
        }
        let begin = Instant::now();
        self.till().apply(include_str!("../../../demo/offer.toml"))?;
        self.say.took("the cut-off till-1 takes a new app, \"offer\"; it is durable there", begin.elapsed());
        self.till().wait_running("offer", 1)?;
        self.say.took("offer runs in the shop, counted from the submission", begin.elapsed());
        if self.cloud().pid().is_some() {
            let begin = Instant::now();
            self.cloud().apply(include_str!("../../../demo/report.toml"))?;
            self.cloud().wait_running("report", 1)?;
            self.say.took("the cloud, too, takes an app, \"report\", and runs it", begin.elapsed());
        }
        let served = eventually("the shop has three tasks of hello of its own", SOON, || {
            let running = self.till().running("hello")?;
            ensure!(running.len() == 3 && running.iter().all(|task| task.site == "shop"), "{running:?}");
            Ok(running)
        })?;
        self.say.took("hello is three in the shop alone, counted from the cut", begin.elapsed());
        self.say.line(&format!("from the shop: {}", self.fetch(&served[0])?));
        Ok(())
    }

    /// Chapter 6: the link is mended.
    ///
    /// # Errors
    /// The sides do not come together, or something healthy was disturbed.
    pub fn heal(&mut self) -> Result<()> {
        self.say.chapter("The cloud comes back");
        let ran = self.both_sides("hello")?;
        let offer = self.till().running("offer")?;
        let begin = Instant::now();
        match self.scene.place() {
            Place::Lab => self.mesh.lab()?.heal()?,
            Place::Loopback { .. } => ["cloud-1", "cloud-2"].iter().try_for_each(|name| self.mesh.node(name).up())?,
        }
        self.mesh.wait_acquainted()?;
        self.mesh.wait_converged()?;
        self.say.took("both sides hold the same documents: equal digests on all five nodes", begin.elapsed());
        let kept = eventually("one task a slot is left of hello, and it ran before", SOON, || {
            let now = self.mesh.running_everywhere("hello")?;
            ensure!(now.len() == 3, "{now:?}");
            Ok(now)
        })?;
        self.say.took("of two tasks a slot one has stopped itself; three are left", begin.elapsed());
        if *self.scene.place() == Place::Lab {
            ensure!(kept.iter().all(|task| ran.contains(task)), "{kept:?} did not all run before: {ran:?}");
        }
        ensure!(self.mesh.running_everywhere("offer")? == offer, "offer was disturbed");
        self.say.holds("nothing was restarted: every task that runs now ran before, in the same process");
        self.say.line("$ holm ls           (on cloud-2)");
        self.say.quote(&self.mesh.node("cloud-2").ok(&["ls"])?);
        Ok(())
    }

    /// What runs of `app` on either side.
    fn both_sides(&self, app: &str) -> Result<Vec<Task>> {
        let mut tasks = self.till().running(app)?;
        if self.cloud().pid().is_some() {
            tasks.extend(self.cloud().running(app)?);
        }
        Ok(tasks)
    }

    /// How to use the mesh from another terminal.
    pub fn explain_how_to_play(&self) {
        let holm = holm_tests::binaries::find("holm").map_or_else(|_| "holm".to_owned(), |path| shown(&path));
        say!("\nThe mesh stays up until you press Ctrl-C. In another terminal:\n");
        for node in self.mesh.up() {
            let enter = match node.pid() {
                Some(pid) if node.host().is_in_lab() => format!("nsenter --net=/proc/{pid}/ns/net "),
                _ => String::new(),
            };
            say!("  alias {}='{enter}env HOLM_DATA_DIR={} {holm}'", node.name(), node.data().display());
        }
        say!("\n  till-1 ps      till-1 status hello      cloud-1 scale hello 5      till-1 logs offer");
    }
}

/// A manifest with its `@name@`s filled in.
fn filled(template: &str, values: &[(&str, &str)]) -> String {
    values.iter().fold(template.to_owned(), |text, (name, value)| text.replace(&format!("@{name}@"), value))
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Python, by its whole path: a task's search path is not ours.
fn python() -> Result<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = [Path::new("/usr/bin").to_owned()].into_iter().chain(std::env::split_paths(&path));
    let found = folders.map(|folder| folder.join("python3")).find(|path| path.is_file());
    found.map(|path| shown(&path)).context("the demo's apps need python3: try `make deps`")
}
