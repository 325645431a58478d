//! A member that was taken over: it holds a valid key and certificate, and says what no honest
//! member says. Its own node goes on as before beside it.

use super::{engine::Engine, event::HostIndex};
use crate::scenario::random::Chance;
use holm_mesh_core::reminder::Reminder;
use holm_state::{StoreRead as _, Table};
use holm_types::{
    Incarnation, cbor,
    change::{SignedChange, Value},
    presence::Presence,
};

/// Honest changes that it draws on.
const MATERIAL: usize = 64;
/// Kinds of lies.
const LIES: u64 = 7;

impl Engine {
    /// Tells so many lies; answers how many it told.
    pub(super) fn lie(&mut self, liar: HostIndex, count: u64, chance: Chance) -> u64 {
        let rows = self.hosts[liar].disk.scan(Table::Changes, b"", None, MATERIAL).unwrap_or_default();
        let honest: Vec<SignedChange> =
            rows.iter().filter_map(|(_, row)| SignedChange::decode(row.get(4..)?).ok()).collect();
        if honest.is_empty() {
            return 0;
        }
        for n in 0..count {
            let draw = chance.of(n);
            let change = &honest[draw.of(1).between(0, honest.len() as u64 - 1) as usize];
            self.tell(liar, draw.of(2).between(0, LIES - 1), change, draw.of(3));
        }
        self.record.count("lies", count);
        count
    }

    fn tell(&mut self, liar: HostIndex, kind: u64, change: &SignedChange, chance: Chance) {
        let bytes = match kind {
            0 => noise(chance),
            1 => self.under_another_name(liar, change, chance),
            2 => self.signed_as_mine(liar, change.clone()),
            3 => self.altered(liar, change, chance),
            // Old truths, again.
            4 => change.encode().unwrap_or_default(),
            5 => return self.speak_for_another(liar, chance),
            _ => return self.bad_frames(liar, change, chance),
        };
        if kind != 4 {
            self.judges.lied(&bytes);
        }
        let scope = format!("/{}", change.scope);
        if let Some(topic) = self.topics.iter().position(|topic| topic.ends_with(&scope)) {
            self.publish(liar, liar, topic as u32, bytes.into());
        }
    }

    /// A change in another's name, without its key.
    fn under_another_name(&self, liar: HostIndex, change: &SignedChange, chance: Chance) -> Vec<u8> {
        let mut forged = self.resign(liar, change.clone());
        let victim = chance.between(0, self.hosts.len() as u64 - 1) as usize;
        forged.author = self.hosts[victim].id;
        if forged.author == self.hosts[liar].id {
            // Its own name is no lie: leave it a bad signature instead.
            forged.hash.0[0] ^= 1;
        }
        forged.encode().unwrap_or_default()
    }

    /// Another's change, with the liar's name and signature.
    fn signed_as_mine(&self, liar: HostIndex, mut change: SignedChange) -> Vec<u8> {
        if change.author == self.hosts[liar].id {
            // Its own would be true: say that it is another document's.
            change.doc.0[3] ^= 1;
        }
        self.resign(liar, change).encode().unwrap_or_default()
    }

    /// A change whose content is not what its hash says, well signed.
    fn altered(&self, liar: HostIndex, change: &SignedChange, chance: Chance) -> Vec<u8> {
        let mut altered = change.clone();
        match chance.between(0, 3) {
            0 => altered.change.seq += 7,
            1 => altered.change.start_op = altered.change.start_op.saturating_add(1_000),
            2 => altered.change.deps.push(holm_types::Digest([0xee; 32])),
            _ => altered.change.ops.iter_mut().for_each(|op| op.value = Some(Value::Uint(666))),
        }
        self.resign(liar, altered).encode().unwrap_or_default()
    }

    fn resign(&self, liar: HostIndex, change: SignedChange) -> SignedChange {
        let config = &self.hosts[liar].config;
        SignedChange::sign(&config.mesh, change.scope, change.doc, change.hash, change.change, &config.key)
    }

    /// A heartbeat in another's name.
    fn speak_for_another(&mut self, liar: HostIndex, chance: Chance) {
        let victim = chance.between(0, self.hosts.len() as u64 - 1) as usize;
        let presence = Presence {
            node: self.hosts[victim].id,
            incarnation: Incarnation(u64::MAX),
            seq: u64::MAX,
            every_ms: 1_000,
            free: None,
            running: None,
            addresses: None,
            leaving: true,
            calls: true,
            chain: None,
        };
        let topic = self.topics.iter().position(|topic| topic.ends_with("/presence"));
        // The transport proves who speaks: the source of the message is the liar, whatever it holds.
        if let (Some(topic), Ok(bytes), true) = (topic, presence.encode(), victim != liar) {
            self.publish(liar, liar, topic as u32, bytes.into());
        }
    }

    /// Frames that are no messages, ask for too much, or bring what was not asked for.
    fn bad_frames(&mut self, liar: HostIndex, change: &SignedChange, chance: Chance) {
        let peers: Vec<HostIndex> = self.hosts[liar].ends.keys().copied().collect();
        let Some(peer) = chance.of(1).choose(&peers, 1).first().copied() else { return };
        let lie = self.signed_as_mine(liar, change.clone());
        self.judges.lied(&lie);
        let changes = vec![serde_bytes::ByteBuf::from(lie), serde_bytes::ByteBuf::from(noise(chance))];
        let message = holm_mesh_core::repair::Message::Changes { scope: change.scope.clone(), changes, more: true };
        let bits = chance.of(3).bits();
        let life = self.hosts[peer].config.incarnation;
        let life = if bits.is_multiple_of(2) { life.well_beyond(life) } else { Incarnation(bits) };
        let frame = match chance.of(2).between(0, 3) {
            0 => noise(chance),
            1 => cbor::to_vec("lie", &("Want", u64::MAX)).unwrap_or_default(),
            2 => Reminder(life).encode().unwrap_or_default(),
            _ => message.encode().unwrap_or_default(),
        };
        self.send_frame(liar, peer, frame.into());
    }
}

fn noise(chance: Chance) -> Vec<u8> {
    (0..chance.of(9).between(1, 400)).map(|n| chance.of(10).of(n).bits() as u8).collect()
}
