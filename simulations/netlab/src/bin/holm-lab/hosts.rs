//! The hosts as a table.

use anyhow::Result;
use holm_netlab::{Host, Lab};

/// Name, site, NAT, addresses, and how to get there.
pub fn table(lab: &Lab) -> Result<String> {
    let mut rows = vec![["HOST", "SITE", "NAT", "ADDRESS", "PUBLIC", "ENTER"].map(str::to_owned)];
    for host in lab.hosts() {
        rows.push(row(lab, host)?);
    }
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text += cells.join("  ").trim_end();
        text.push('\n');
    }
    Ok(text)
}

fn row(lab: &Lab, host: &Host) -> Result<[String; 6]> {
    let nat = lab.nat(host.site())?;
    let public = lab.public_address(host.site())?.map_or_else(|| "-".to_owned(), |address| address.to_string());
    let site = nat.map_or("-", |_| host.site()).to_owned();
    let nat = nat.map_or_else(|| "-".to_owned(), |nat| nat.to_string());
    Ok([host.name().to_owned(), site, nat, host.address().to_string(), public, host.how_to_enter()])
}
