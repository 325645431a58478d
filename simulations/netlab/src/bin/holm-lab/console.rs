//! Commands that change a lab while it is up, one a line.

use crate::{
    hosts,
    signals::{Event, Events},
};
use anyhow::{Context as _, Result, bail};
use holm_netlab::{Lab, Link};
use nix::sys::signal::Signal;
use std::io::{BufRead as _, Write as _, stdin, stdout};

const HELP: &str = "\
hosts                       the table again
cut SITE                    no packet passes to or from it
heal [SITE]                 mend what is cut there, or everything
partition A B               no packet passes between these two
link SITE [KEY=VALUE]...    its uplink is a cable: delay=40ms jitter=5ms loss=0.05 rate=20mbit queue=64kB
wan SITE                    its provider gives it another address
udp-timeout SITE TIME       how long its NAT remembers a silent mapping
traffic SITE                what its cable has carried and lost, out and in
quit                        as Ctrl-C: everything on the hosts is killed, and the lab is gone
";

/// Shows the hosts, then obeys until it is told to stop.
pub fn run(lab: &Lab, (sender, events): Events) -> Result<()> {
    say(&hosts::table(lab)?)?;
    say("\nup; `help` lists commands, Ctrl-C ends it\n")?;
    std::thread::spawn(move || {
        for line in stdin().lock().lines().map_while(Result::ok) {
            if sender.send(Event::Line(line)).is_err() {
                return;
            }
        }
        // The console may be over already.
        let _ = sender.send(Event::End);
    });
    for event in events {
        let line = match event {
            Event::Signal(Signal::SIGCHLD) => continue,
            Event::Signal(_) | Event::End => break,
            Event::Line(line) => line,
        };
        match obey(lab, &line) {
            Ok(Some(answer)) => say(&answer)?,
            Ok(None) => break,
            Err(why) => say(&format!("{why:#}\n"))?,
        }
    }
    Ok(())
}

/// A reader that has seen enough is no failure.
fn say(text: &str) -> Result<()> {
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        said => said.context("standard output cannot be written"),
    }
}

/// Carries a line out, and gives what there is to say; nothing when it is the last.
fn obey(lab: &Lab, line: &str) -> Result<Option<String>> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let done = "ok\n".to_owned();
    Ok(Some(match words[..] {
        [] => String::new(),
        ["help"] => HELP.to_owned(),
        ["hosts"] => hosts::table(lab)?,
        ["quit" | "exit"] => return Ok(None),
        ["cut", site] => lab.cut(site).map(|()| done)?,
        ["heal"] => lab.heal_all().map(|()| done)?,
        ["heal", site] => lab.heal(site).map(|()| done)?,
        ["partition", a, b] => lab.partition(a, b).map(|()| done)?,
        ["wan", site] => format!("{}\n", lab.wan_change(site)?),
        ["udp-timeout", site, time] => lab.udp_timeout(site, humantime::parse_duration(time)?).map(|()| done)?,
        ["traffic", site] => match lab.traffic(site)? {
            Some([out, inwards]) => format!("out {out:?}\nin  {inwards:?}\n"),
            None => format!("{site} has a plain wire, which does not count: `link {site}` makes it a cable\n"),
        },
        ["link", site, ref settings @ ..] => lab.link(site, link(settings)?).map(|()| done)?,
        _ => bail!("{line:?} is no command: `help` lists them"),
    }))
}

/// `KEY=VALUE`s as a link.
fn link(settings: &[&str]) -> Result<Link> {
    let mut text = String::new();
    for setting in settings {
        let (key, value) = setting.split_once('=').with_context(|| format!("{setting:?} is not KEY=VALUE"))?;
        let is_number = value.parse::<f64>().is_ok_and(f64::is_finite);
        text += &if is_number { format!("{key} = {value}\n") } else { format!("{key} = {value:?}\n") };
    }
    // The line that the message points to is not one that anybody wrote.
    toml::from_str(&text).map_err(|e| anyhow::anyhow!(e.message().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_link_is_read_as_in_a_file_and_mistakes_are_told() {
        let expected = Link { delay: Duration::from_millis(40), loss: 0.05, ..Link::default() };
        assert_eq!(link(&["delay=40ms", "loss=0.05"]).unwrap(), expected);
        assert_eq!(link(&["loss=0"]).unwrap(), Link::default());
        for (wrong, hint) in [("delay", "KEY=VALUE"), ("dely=1ms", "delay"), ("loss=5.0", "from 0 to 1")] {
            let said = link(&[wrong]).unwrap_err().to_string();
            assert!(said.contains(hint), "{said}");
        }
    }
}
