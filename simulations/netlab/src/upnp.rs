//! A router that maps ports for hosts that ask (UPnP): Debian's `miniupnpd`.

use crate::{error::LabError, lab::Lab, nat::Nat, netns::Netns, site::Far, spawner};
use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

/// The server, running on a router. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Upnp {
    child: Child,
    config: PathBuf,
}

/// The tables that it fills.
const TABLES: &str = "table inet upnp {
  chain forward { type filter hook forward priority filter - 1; policy accept; }
  chain miniupnpd { }
  chain prerouting_miniupnpd { }
  chain postrouting_miniupnpd { }
  chain prerouting { type nat hook prerouting priority dstnat; policy accept; jump prerouting_miniupnpd; }
  chain postrouting { type nat hook postrouting priority srcnat; policy accept; jump postrouting_miniupnpd; }
}
";

/// Why no router here can do UPnP, if none can.
pub fn unavailable() -> Option<String> {
    program().is_none().then(|| "no UPnP: `miniupnpd` is not installed (Debian: miniupnpd-nftables)".to_owned())
}

fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // A user's search path often lacks the last two.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join("miniupnpd")).find(|path| path.is_file())
}

impl Lab {
    /// From now on a site's router maps ports for hosts that ask: UPnP and NAT-PMP. Behind a carrier's NAT that helps as
    /// little as it does in life.
    ///
    /// # Errors
    /// There is no such site, it does not translate, or `miniupnpd` is missing ([`crate::upnp_unavailable`]) or fails.
    pub fn upnp(&self, site: &str) -> Result<(), LabError> {
        let at = self.known(site)?;
        let router = match at.far() {
            Far::Router(nat) if nat.translates() && nat != Nat::FullCone => at.router(),
            _ => None,
        };
        let router = router.ok_or_else(|| LabError::refused(site, "it has no router that could map a port"))?;
        let server = Upnp::start(router, at.number())?;
        self.keep_upnp(server);
        Ok(())
    }
}

impl Upnp {
    fn start(router: &Netns, number: u8) -> Result<Upnp, LabError> {
        let missing = || LabError::refused("upnp", unavailable().unwrap_or_default());
        let program = program().ok_or_else(missing)?;
        router.nft(TABLES)?;
        let pid = std::process::id();
        let config = std::env::temp_dir().join(format!("holm-netlab-{pid}-{number}.conf"));
        std::fs::write(&config, configuration(number)).map_err(LabError::system("write the file of miniupnpd"))?;
        let mut command = router.command(program);
        command.arg("-d").arg("-f").arg(&config).arg("-P").arg(pid_file(&config));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Upnp { child: spawner::spawn(command)?, config })
    }
}

impl Drop for Upnp {
    fn drop(&mut self) {
        // It may have ended by itself, and what cannot be removed is a small file among temporary ones.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.config);
        let _ = std::fs::remove_file(pid_file(&self.config));
    }
}

fn pid_file(config: &Path) -> PathBuf {
    config.with_extension("pid")
}

fn configuration(number: u8) -> String {
    let lan = Ipv4Addr::new(192, 168, 1, 0);
    format!(
        "ext_ifname=wan
listening_ip=lan
enable_natpmp=yes
enable_upnp=yes
secure_mode=yes
upnp_table_name=upnp
upnp_nat_table_name=upnp
upnp_forward_chain=miniupnpd
upnp_nat_chain=prerouting_miniupnpd
upnp_nat_postrouting_chain=postrouting_miniupnpd
uuid=2a110000-0000-4000-8000-0000000000{number:02x}
allow 1024-65535 {lan}/24 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
"
    )
}
