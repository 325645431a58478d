//! The gossip topics of a mesh: one pair that all nodes take part in, and one pair a site. A mark of the
//! mesh keeps meshes apart that share a link by mistake.
//!
//! | topic | what is said there, and by whom |
//! |---|---|
//! | `presence` | heartbeats of keepers, and of nodes that run what belongs to no site |
//! | `presence/SITE` | heartbeats of the nodes of a site, and of keepers while something happens there |
//! | `mesh` | changes of documents that every node holds |
//! | `site/SITE` | changes of documents of a site |
//!
//! A node takes part in the topics of its site, a keeper in those of all sites that it knows of. So what a
//! node hears grows with its site, not with the mesh.

use holm_types::{Label, MeshId, Scope};
use std::collections::BTreeSet;

/// The topics that a node takes part in.
#[derive(Debug, Clone)]
pub struct Topics {
    mark: String,
    sites: BTreeSet<Label>,
}

/// What a topic carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Carries {
    /// Heartbeats for a site.
    Presence(Label),
    /// Heartbeats of those who speak to all sites.
    PresenceToAll,
    /// Changes of this scope.
    Changes(Scope),
}

impl Topics {
    /// Those of a node of `mesh` at `site`.
    pub fn new(mesh: &MeshId, site: &Label) -> Topics {
        Topics { mark: mesh.to_string()[..16].to_owned(), sites: BTreeSet::from([site.clone()]) }
    }

    /// Takes part in those of one more site. Gives them, if they are new.
    pub fn join(&mut self, site: &Label) -> Vec<String> {
        match self.sites.insert(site.clone()) {
            true => vec![self.presence_at(site), self.of(&Scope::Site(site.clone()))],
            false => Vec::new(),
        }
    }

    /// All that the node takes part in.
    pub fn all(&self) -> Vec<String> {
        let sites = self.sites.iter().flat_map(|site| [self.presence_at(site), self.of(&Scope::Site(site.clone()))]);
        [self.presence(), self.of(&Scope::Mesh)].into_iter().chain(sites).collect()
    }

    /// Heartbeats for everybody.
    pub fn presence(&self) -> String {
        format!("holm/{}/presence", self.mark)
    }

    /// Heartbeats for one site.
    pub fn presence_at(&self, site: &Label) -> String {
        format!("holm/{}/presence/{site}", self.mark)
    }

    /// Changes of a scope.
    pub fn of(&self, scope: &Scope) -> String {
        format!("holm/{}/{scope}", self.mark)
    }

    /// What comes on a topic; nothing that the node takes part in, if it is another one's.
    pub fn carries(&self, topic: &str) -> Option<Carries> {
        let name = topic.strip_prefix("holm/")?.strip_prefix(self.mark.as_str())?.strip_prefix('/')?;
        let joined = |site: &Label| self.sites.contains(site);
        match name.strip_prefix("presence") {
            Some("") => Some(Carries::PresenceToAll),
            Some(rest) => rest.strip_prefix('/')?.parse().ok().filter(joined).map(Carries::Presence),
            None => name.parse::<Scope>().ok().filter(|scope| scope.site().is_none_or(joined)).map(Carries::Changes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_hears_its_site_and_what_is_for_all() {
        let [plant, shop]: [Label; 2] = ["plant", "shop"].map(|site| site.parse().unwrap());
        let mut topics = Topics::new(&MeshId([7; 32]), &plant);
        assert_eq!(topics.all().len(), 4);
        assert!(topics.all().iter().all(|topic| topics.carries(topic).is_some()));
        let [mesh, own, other] = [Scope::Mesh, Scope::Site(plant.clone()), Scope::Site(shop.clone())];
        assert_eq!(topics.carries(&topics.of(&mesh)), Some(Carries::Changes(mesh)));
        assert_eq!(topics.carries(&topics.of(&own)), Some(Carries::Changes(own)));
        assert_eq!(topics.carries(&topics.of(&other)), None);
        assert_eq!(topics.carries(&topics.presence_at(&shop)), None);
        assert_eq!(topics.join(&plant), Vec::<String>::new());
        assert_eq!(topics.join(&shop).len(), 2);
        assert_eq!(topics.carries(&topics.presence_at(&shop)), Some(Carries::Presence(shop)));
        assert_eq!(topics.carries(&topics.presence()), Some(Carries::PresenceToAll));
        let elsewhere = Topics::new(&MeshId([8; 32]), &plant);
        assert!(topics.all().iter().all(|topic| elsewhere.carries(topic).is_none()), "another mesh's");
    }
}
