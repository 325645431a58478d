//! A node that has lost the memory of a life is told of it by those who have heard it ([`Reminder`]).

use crate::{Effect, Node};
use holm_mesh_core::reminder::Reminder;
use holm_types::{Incarnation, Mono, NodeId, Now};

impl Node {
    /// A member speaks as `life`: if it was heard as a later one it is told so, once a connection. Who is not connected with it
    /// sees to it that he will be.
    pub(crate) fn remind(&mut self, now: Mono, source: NodeId, life: Incarnation, out: &mut Vec<Effect>) {
        let heard = self.members.presence(&source).map(|last| last.incarnation);
        let Some(heard) = heard.filter(|heard| life < *heard) else { return };
        let Some(peer) = self.peers.get_mut(&source) else { return self.healer.sighted(&source, now) };
        if peer.reminded.replace(life) == Some(life) {
            return;
        }
        if let Ok(bytes) = Reminder(heard).encode() {
            out.push(Effect::Send { peer: source, bytes });
        }
    }

    /// A peer has heard this node as that life.
    pub(crate) fn on_reminder(&mut self, now: Now, bytes: &[u8]) {
        let Ok(Reminder(life)) = Reminder::decode(bytes) else { return self.count("frame_malformed") };
        if !self.state.was_heard_as(life) {
            return self.count("reminders_ignored");
        }
        if self.describe_self(now).is_err() {
            self.count("writes_failed");
        }
        self.voices.hurry(now.mono);
    }
}
