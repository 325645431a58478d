//! The report as one page that stands alone: no script, no font, no other file; it can be mailed. It follows
//! the reader's choice of light or dark. It is well-formed XML as well, so that a test can read it.

mod charts;
mod fleet;
mod markup;
mod style;

use super::{
    campaign::{Campaign, Kept, ROWS as ROWS_KEPT, Row},
    picture::picture,
    text::kind_name,
};
use crate::tell::{amount, promise, story, time, trouble};
use markup::escaped;
use std::fmt::Write as _;

/// Rows of the table of seeds.
const ROWS: usize = 1_000;
/// Lines of a run's story on the page; the last ones are shown.
const STORY: usize = 400;
/// Runs drawn because they failed, and as many that passed; the others are in the table.
const DRAWN: usize = 8;

/// The page.
pub fn page(campaign: &Campaign) -> String {
    let title = match campaign.scenarios().into_iter().collect::<Vec<_>>()[..] {
        [one] => one.to_owned(),
        ref many => format!("{} scenarios", many.len()),
    };
    let mut out = String::with_capacity(200_000);
    // Writing to a String cannot fail.
    let _ = write_page(&mut out, campaign, &title);
    out
}

fn write_page(out: &mut String, campaign: &Campaign, title: &str) -> std::fmt::Result {
    let title = escaped(title);
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta name=\"color-scheme\" content=\"light dark\"/>\n<title>{title} - holm-sim</title>\n\
         <style>{}</style>\n</head>\n<body>\n<main>\n",
        style::STYLE
    )?;
    let verdict = badge(campaign.passed());
    writeln!(out, "<header><p class=\"kind\">holm-sim report</p><h1>{title} {verdict}</h1></header>")?;
    write_tiles(out, campaign)?;
    write_failures(out, campaign)?;
    if campaign.rows.len() > 1 {
        write_seeds(out, campaign)?;
    }
    for kept in drawn(campaign) {
        write_run(out, campaign, kept)?;
    }
    write_coverage(out, campaign)?;
    out.write_str("</main>\n</body>\n</html>\n")
}

fn badge(passed: bool) -> &'static str {
    if passed { "<span class=\"badge good\">passed</span>" } else { "<span class=\"badge bad\">failed</span>" }
}

/// The runs with a picture: those that failed, and of each scenario one that did not.
fn drawn(campaign: &Campaign) -> impl Iterator<Item = &Kept> {
    campaign.failed().take(DRAWN).chain(campaign.passed.values().take(DRAWN))
}

fn anchor(scenario: &str, seed: u64) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    format!("run-{}-{seed}", scenario.chars().map(safe).collect::<String>())
}

fn write_tiles(out: &mut String, campaign: &Campaign) -> std::fmt::Result {
    let totals = campaign.totals();
    let tile = |label: &str, value: String, small: String| {
        format!("<div class=\"tile\"><span>{label}</span><b>{value}</b><i>{small}</i></div>\n")
    };
    let failed =
        if totals.failed == 0 { "none failed".to_owned() } else { format!("{} failed", amount(totals.failed)) };
    let twice = if totals.twice > 0 { format!("{failed}, {} ran twice", totals.twice) } else { failed };
    let simulated = time(crate::scenario::Ms(totals.simulated_ms));
    let (fast, cpu) = (totals.speed(), totals.cpu.as_secs_f64());
    let faults: u64 = totals.fired.values().sum();
    let reached = crate::marks::ALL.len() - campaign.never_reached().len();
    out.write_str("<div class=\"tiles\">\n")?;
    out.write_str(&tile("runs", amount(totals.runs), twice))?;
    out.write_str(&tile("simulated", simulated, format!("{cpu:.1} s of CPU, {fast:.0} times as fast")))?;
    out.write_str(&tile(
        "messages a node and second",
        format!("{:.1}", totals.messages_per_node_second()),
        format!("{} in all, {} of state", amount(totals.messages), amount(totals.state_messages)),
    ))?;
    out.write_str(&tile("faults that struck", amount(faults), format!("{} kinds", totals.fired.len())))?;
    out.write_str(&tile("rare branches reached", reached.to_string(), format!("of {}", crate::marks::ALL.len())))?;
    out.write_str("</div>\n")
}

fn write_failures(out: &mut String, campaign: &Campaign) -> std::fmt::Result {
    for failure in campaign.failures() {
        let runs = if failure.runs == 1 { "1 run".to_owned() } else { format!("{} runs", amount(failure.runs)) };
        writeln!(
            out,
            "<section class=\"failure\"><h2>{}</h2><p>Not true in {runs}: {}.</p><p>First seen in {} with seed {} at {}: {}</p>\
             <p>To see it again: <code>{}</code></p></section>",
            failure.invariant,
            promise(failure.invariant),
            escaped(&failure.scenario),
            failure.seed,
            time(failure.first.at),
            escaped(&failure.first.detail),
            escaped(&campaign.replay(&failure.scenario, failure.seed)),
        )?;
    }
    Ok(())
}

/// All runs, those that failed first.
fn write_seeds(out: &mut String, campaign: &Campaign) -> std::fmt::Result {
    let shown: Vec<(&str, u64)> = drawn(campaign).map(|kept| (kept.outcome.name.as_str(), kept.outcome.seed)).collect();
    let failed = campaign.rows.iter().filter(|(_, row)| row.violation.is_some());
    let passed = campaign.rows.iter().filter(|(_, row)| row.violation.is_none());
    out.write_str(
        "<section><h2>Every run</h2><div class=\"scroll\"><table>\n<thead><tr><th>scenario</th><th class=\"n\">seed</th>\
         <th>verdict</th><th>first thing that was wrong</th><th class=\"n\">simulated</th>\
         <th class=\"n\">messages a node and second</th><th class=\"n\">slowest heal</th><th>hash</th></tr></thead>\n<tbody>\n",
    )?;
    for ((scenario, seed), row) in failed.chain(passed).take(ROWS) {
        let has_picture = shown.contains(&(scenario.as_str(), *seed));
        write_seed(out, scenario, *seed, row, has_picture)?;
    }
    out.write_str("</tbody></table></div>\n")?;
    let more = campaign.not_listed() + campaign.rows.len().min(ROWS_KEPT).saturating_sub(ROWS) as u64;
    if more > 0 {
        writeln!(out, "<p class=\"small\">{} more runs are not listed; they are in the sums.</p>", amount(more))?;
    }
    out.write_str("</section>\n")
}

fn write_seed(out: &mut String, scenario: &str, seed: u64, row: &Row, has_picture: bool) -> std::fmt::Result {
    let link =
        if has_picture { format!("<a href=\"#{}\">{seed}</a>", anchor(scenario, seed)) } else { seed.to_string() };
    let wrong = row.violation.as_ref().map_or_else(String::new, |violation| {
        format!("<b>{}</b> at {}: {}", violation.invariant, time(violation.at), escaped(&violation.detail))
    });
    let twice = if row.twice { " <span class=\"small\">ran twice</span>" } else { "" };
    writeln!(
        out,
        "<tr><td>{}</td><td class=\"n\">{link}</td><td>{}{twice}</td><td>{wrong}</td><td class=\"n\">{}</td>\
         <td class=\"n\">{:.1}</td><td class=\"n\">{}</td><td><code>{:016x}</code></td></tr>",
        escaped(scenario),
        badge(row.violation.is_none()),
        time(row.simulated),
        row.messages,
        row.slowest_heal.map_or_else(|| "-".to_owned(), time),
        row.trace_hash,
    )
}

fn write_run(out: &mut String, campaign: &Campaign, kept: &Kept) -> std::fmt::Result {
    let Kept { plan, outcome } = kept;
    let (name, seed) = (&outcome.name, outcome.seed);
    writeln!(
        out,
        "<section class=\"run\" id=\"{}\"><h2>{}, seed {seed} {}</h2>",
        anchor(name, seed),
        escaped(name),
        badge(outcome.passed())
    )?;
    if let Some(about) = campaign.sources.get(name).map(|source| &source.about).filter(|about| !about.is_empty()) {
        writeln!(out, "<p class=\"about\">{}</p>", escaped(about))?;
    }
    if !outcome.passed() {
        out.write_str("<ul class=\"violations\">\n")?;
        for v in &outcome.violations {
            writeln!(out, "<li><b>{}</b> at {}: {}</li>", v.invariant, time(v.at), escaped(&v.detail))?;
        }
        writeln!(out, "</ul><p>Again: <code>{}</code></p>", escaped(&campaign.replay(name, seed)))?;
    }
    let picture = picture(plan, outcome);
    out.write_str(&fleet::draw(&picture, outcome))?;
    out.write_str(&charts::draw(outcome))?;
    write_faults(out, kept)?;
    write_story(out, kept)?;
    writeln!(out, "<p class=\"small\">hash of the run: <code>{:016x}</code></p></section>", outcome.trace_hash)
}

fn write_faults(out: &mut String, Kept { plan, .. }: &Kept) -> std::fmt::Result {
    if plan.faults.is_empty() {
        return Ok(());
    }
    writeln!(out, "<details><summary>{} faults in words</summary><ol>", plan.faults.len())?;
    for fault in plan.faults.iter().take(super::picture::FAULTS) {
        let (at, lasts) = (time(fault.at), crate::tell::lasting(fault.lasts));
        writeln!(out, "<li><b>{at}</b> for {lasts}: {}</li>", escaped(&trouble(plan, &fault.trouble)))?;
    }
    out.write_str("</ol></details>\n")
}

fn write_story(out: &mut String, Kept { plan, outcome }: &Kept) -> std::fmt::Result {
    let lines = story(plan, outcome, None);
    let last = &lines[lines.len().saturating_sub(STORY)..];
    writeln!(out, "<details><summary>The last {} events</summary><pre>", last.len())?;
    last.iter().try_for_each(|line| writeln!(out, "{}", escaped(&line.to_string())))?;
    out.write_str("</pre></details>\n")
}

/// What the runs together have come to.
fn write_coverage(out: &mut String, campaign: &Campaign) -> std::fmt::Result {
    let totals = campaign.totals();
    out.write_str(
        "<section><h2>What was exercised</h2><div class=\"columns\"><div><h3>Faults that struck</h3><table><tbody>\n",
    )?;
    for (kind, n) in &totals.fired {
        let class = if *n == 0 { " class=\"never\"" } else { "" };
        let name = kind_name(*kind).replace('_', " ");
        writeln!(out, "<tr{class}><td>{name}</td><td class=\"n\">{}</td></tr>", amount(*n))?;
    }
    out.write_str("</tbody></table></div><div><h3>Rare branches of the product</h3><table><tbody>\n")?;
    for mark in crate::marks::ALL {
        let n = totals.marks.get(*mark).copied().unwrap_or(0);
        let (class, times) = if n == 0 { (" class=\"never\"", "never".to_owned()) } else { ("", amount(n)) };
        writeln!(out, "<tr{class}><td>{}</td><td class=\"n\">{times}</td></tr>", escaped(mark))?;
    }
    out.write_str("</tbody></table></div></div></section>\n")
}

#[cfg(test)]
mod tests {
    use super::{super::sample, *};
    use crate::report::Source;
    use roxmltree::{Document, ParsingOptions};
    use std::{collections::BTreeSet, time::Duration};

    fn campaign(seeds: u64) -> Campaign {
        let (plan, _) = sample::passed();
        let replay = "holm-sim replay 'my <odd> & file.toml'".to_owned();
        let source = Source { about: "A & B <lose> each \"other\".".to_owned(), replay, one_seed: false };
        let mut campaign = Campaign::new([(plan.name, source)].into());
        for seed in 0..seeds {
            let (plan, outcome) = sample::seed(seed);
            campaign.add(plan, outcome, Duration::from_millis(10), false);
        }
        campaign
    }

    fn parsed(page: &str) -> Document<'_> {
        let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
        Document::parse_with_options(page, options).unwrap_or_else(|e| panic!("not well-formed: {e}\n{page}"))
    }

    #[test]
    fn the_page_is_well_formed_and_stands_alone() {
        for seeds in [0, 1, 2, 50] {
            let page = page(&campaign(seeds));
            let document = parsed(&page);
            let ids: Vec<&str> = document.descendants().filter_map(|node| node.attribute("id")).collect();
            let unique: BTreeSet<&str> = ids.iter().copied().collect();
            assert_eq!(unique.len(), ids.len(), "an id is there twice");
            for node in document.descendants() {
                assert!(!["script", "link", "img", "iframe"].contains(&node.tag_name().name()), "{node:?}");
                assert!(node.attributes().all(|a| !a.name().starts_with("on") && a.name() != "src"), "{node:?}");
                if let Some(target) = node.attribute("href") {
                    assert!(unique.contains(target.trim_start_matches('#')), "{target} leads nowhere");
                }
            }
            assert!(!page.contains("url(") && !page.contains("@import"));
        }
    }

    #[test]
    fn every_node_task_and_fault_is_named_and_escaped() {
        let page = page(&campaign(1));
        let document = parsed(&page);
        let texts: Vec<String> = document
            .descendants()
            .filter(|node| node.is_text())
            .filter_map(|node| node.text().map(str::to_owned))
            .collect();
        let has = |what: &str| assert!(texts.iter().any(|text| text.contains(what)), "{what} is not on the page");
        for host in sample::passed().0.hosts {
            has(&host.name);
            has(&host.site);
        }
        ["web-0-a", "web-1-b", "partition", "crash", "pause", "<healthy> & alone", "my <odd> & file.toml"]
            .into_iter()
            .for_each(has);
        has("A & B <lose> each \"other\".");
    }

    #[test]
    fn runs_that_failed_come_first() {
        let page = page(&campaign(6));
        let document = parsed(&page);
        let body = document.descendants().find(|node| node.has_tag_name("tbody")).unwrap();
        let verdicts: Vec<bool> = body
            .children()
            .filter(|row| row.has_tag_name("tr"))
            .map(|row| row.descendants().any(|node| node.attribute("class") == Some("badge bad")))
            .collect();
        assert_eq!(verdicts, [true, true, true, false, false, false]);
    }
}
