//! The decoders one by one, also those that strangers reach.

use crate::{ALONE, MOST, alloc, busy_mesh, mutate::hostile, number};
use holm_mesh_core::{beat::Beat, lease, repair};
use holm_types::{
    cert::CertChain, change::SignedChange, keys::KeyPair, manifest::Format, manifest::Manifest, parcel,
    presence::Presence, token::Token, view::TaskStatus,
};
use rand::{SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

#[test]
fn no_decoder_panics_or_asks_for_much() {
    let _alone = ALONE.lock();
    let inputs = number("HOLM_HOSTILE", 30_000);
    let mut rng = ChaCha8Rng::seed_from_u64(number("HOLM_SEED", 1));
    let mesh = busy_mesh();
    let mut honest: Vec<Vec<u8>> =
        mesh.frames.iter().cloned().chain(mesh.gossip.iter().map(|(_, b)| b.clone())).collect();
    let changes: Vec<SignedChange> = honest.iter().filter_map(|bytes| parcel::unpack(bytes).ok()).flatten().collect();
    honest.extend(parcel::pack(changes.iter().take(20).filter_map(|change| change.encode().ok()).collect()));
    honest.extend(changes.into_iter().flat_map(values));
    honest.push(chain());
    let manifest =
        "name = 'web'\ntype = 'service'\nreplicas = 4\n[run.process]\ncommand = ['/bin/sleep', '9']\n[env]\nA = 'b'\n";
    for n in 0..inputs {
        let bytes = hostile(honest.choose(&mut rng).expect("some"), &honest, &mut rng);
        let text = hostile(manifest.as_bytes(), &honest, &mut rng);
        let before = alloc::held();
        alloc::begin();
        let _ = SignedChange::decode(&bytes);
        let _ = parcel::unpack(&bytes);
        let _ = CertChain::decode(&bytes);
        let _ = Presence::decode(&bytes);
        let _ = TaskStatus::decode(&bytes);
        let _ = repair::Message::decode(&bytes);
        let _ = lease::Message::decode(&bytes);
        let _ = Beat::decode(&bytes);
        let text = String::from_utf8_lossy(&text);
        let _ = Token::from_text(&text);
        if n % 16 == 0 {
            let _ = Manifest::parse(&text, Format::Toml);
            let _ = Manifest::parse(&text, Format::Yaml);
        }
        let (largest, held) = alloc::most(before);
        // Manifests come from clients with a credential, and the libraries that read TOML and YAML make a tree of them
        // first: some hundred bytes for a byte, of which there are a megabyte at most.
        let most = MOST + if n % 16 == 0 { 512 * text.len() } else { 0 };
        assert!(
            largest <= most && held <= most,
            "input {n}: {largest} bytes in a piece, {held} in all, for {} bytes and a text of {}: {:.200?}",
            bytes.len(),
            text.len(),
            text
        );
    }
}

fn values(change: SignedChange) -> Vec<Vec<u8>> {
    let bytes = |op: holm_types::change::WireOp| match op.value {
        Some(holm_types::change::Value::Bytes(bytes)) => Some(bytes),
        _ => None,
    };
    change.change.ops.into_iter().filter_map(bytes).collect()
}

fn chain() -> Vec<u8> {
    let authority = KeyPair::from_secret(&[0xA0; 32]);
    let claims = holm_types::cert::Claims {
        mesh: holm_types::MeshId(authority.node_id().0),
        mesh_name: "acme".parse().unwrap(),
        subject: KeyPair::from_secret(&[1; 32]).node_id(),
        name: "gw-1".parse().unwrap(),
        site: "plant".parse().unwrap(),
        roles: vec![holm_types::cert::Role::Edge],
        not_before: 0,
        not_after: 1 << 40,
        serial: 7,
    };
    CertChain::new(vec![holm_types::cert::Certificate::sign(claims, &authority).unwrap()]).encode().unwrap()
}
