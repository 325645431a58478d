//! A router that maps ports for hosts that ask.

use crate::{
    Needs, Story,
    stun::{PATIENCE, SILENCE},
};
use anyhow::{Context as _, Result, ensure};
use holm_netlab::{Host, Lab, Nat};
use std::{
    net::{SocketAddr, UdpSocket},
    time::Instant,
};

const PORT: u16 = 4001;

pub fn trials() -> Vec<(&'static str, Needs, Story)> {
    vec![("upnp: a router is found, and a port that it was asked for is open", Needs::Upnp, a_mapped_port)]
}

fn socket(host: &Host, port: u16) -> Result<UdpSocket> {
    Ok(host.run(|| UdpSocket::bind(SocketAddr::new(host.address(), port)))??)
}

/// Sends `question` until there is an answer: the server may not listen yet.
fn asked(host: &Host, to: &str, question: &[u8]) -> Result<Vec<u8>> {
    let socket = socket(host, 0)?;
    socket.set_read_timeout(Some(SILENCE))?;
    let begin = Instant::now();
    let mut answer = [0; 2048];
    while begin.elapsed() < PATIENCE {
        // A refusal of the last one may come back as an error of this one.
        let _ = socket.send_to(question, to);
        if let Ok((size, _)) = socket.recv_from(&mut answer) {
            return Ok(answer[..size].to_vec());
        }
    }
    anyhow::bail!("{to} does not answer")
}

fn a_mapped_port() -> Result<()> {
    let mut lab = Lab::new()?;
    let cloud = lab.cloud("cloud")?;
    let host = lab.site("shop", Nat::Home, 1)?.remove(0);
    let outside = SocketAddr::new(lab.public_address("shop")?.context("a home has one")?.into(), PORT);
    let listener = socket(&host, PORT)?;
    listener.set_read_timeout(Some(SILENCE))?;
    let stranger = socket(&cloud, 0)?;
    stranger.send_to(b"before", outside)?;
    ensure!(listener.recv(&mut [0; 8]).is_err(), "the port is open before anyone asked");

    lab.upnp("shop")?;
    let search = "M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\n\
                  ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\r\n";
    let found = asked(&host, "239.255.255.250:1900", search.as_bytes())?;
    let found = String::from_utf8_lossy(&found).into_owned();
    ensure!(found.contains("http://192.168.1.254:"), "where is the router? {found}");

    // NAT-PMP (RFC 6886): map UDP, inside port, outside port, for an hour.
    let ask = [&[0, 1, 0, 0], &PORT.to_be_bytes()[..], &PORT.to_be_bytes(), &3600_u32.to_be_bytes()].concat();
    let answer = asked(&host, "192.168.1.254:5351", &ask)?;
    ensure!(answer.len() == 16 && answer[..4] == [0, 129, 0, 0], "refused: {answer:?}");
    stranger.send_to(b"after", outside)?;
    let mut heard = [0; 8];
    let size = listener.recv(&mut heard).context("the mapped port is not open")?;
    ensure!(&heard[..size] == b"after");
    Ok(())
}
