//! What is cut, as rules of the core. Packets are dropped without a word, as by a broken link: connections across a
//! cut see silence, never a refusal. Inside a site nothing passes the core.

use std::{collections::BTreeSet, fmt::Write as _};

/// What is cut. Sites go by their numbers.
#[derive(Debug, Default)]
pub struct Cuts {
    sites: BTreeSet<u8>,
    pairs: BTreeSet<(u8, u8)>,
}

impl Cuts {
    /// Cuts a site off from all others.
    pub fn cut(&mut self, site: u8) {
        self.sites.insert(site);
    }

    /// Mends all that is cut at a site: its own cut, and its partitions.
    pub fn heal(&mut self, site: u8) {
        self.sites.remove(&site);
        self.pairs.retain(|(a, b)| *a != site && *b != site);
    }

    /// Cuts two sites off from each other.
    pub fn part(&mut self, a: u8, b: u8) {
        self.pairs.insert((a.min(b), a.max(b)));
    }

    /// Mends everything.
    pub fn clear(&mut self) {
        *self = Cuts::default();
    }

    /// The table, before the first cut.
    pub const TABLE: &str =
        "table inet lab { chain forward { type filter hook forward priority filter; policy accept; }; }\n";

    /// The whole truth, to be loaded as one transaction.
    pub fn rules(&self) -> String {
        let mut rules = String::from("flush chain inet lab forward\n");
        let mut drop = |which: String| {
            // Writing to a string does not fail.
            let _ = writeln!(rules, "add rule inet lab forward {which} drop");
        };
        for site in &self.sites {
            drop(format!("iifname \"u{site}\""));
            drop(format!("oifname \"u{site}\""));
        }
        for (a, b) in &self.pairs {
            drop(format!("iifname \"u{a}\" oifname \"u{b}\""));
            drop(format!("iifname \"u{b}\" oifname \"u{a}\""));
        }
        rules
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heal_takes_away_what_concerns_the_site_and_nothing_else() {
        let mut cuts = Cuts::default();
        cuts.cut(1);
        cuts.part(2, 1);
        cuts.part(2, 3);
        assert_eq!(cuts.rules().matches("drop").count(), 6);
        cuts.heal(1);
        let left = cuts.rules();
        assert_eq!(left.matches("drop").count(), 2);
        assert!(left.contains("iifname \"u2\" oifname \"u3\"") && left.contains("iifname \"u3\" oifname \"u2\""));
        cuts.clear();
        assert_eq!(cuts.rules(), "flush chain inet lab forward\n");
    }
}
