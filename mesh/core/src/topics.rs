//! The gossip topics of a mesh. A mark of the mesh keeps meshes apart that share a link by mistake.

use holm_types::{Label, MeshId, Scope};

/// The topics that a node of one site takes part in.
#[derive(Debug, Clone)]
pub struct Topics {
    presence: String,
    mesh: String,
    site: String,
    site_name: Label,
}

impl Topics {
    /// The topics of a node of `mesh` at `site`.
    pub fn new(mesh: &MeshId, site: &Label) -> Topics {
        let mark = &mesh.to_string()[..16];
        Topics {
            presence: format!("holm/{mark}/presence"),
            mesh: format!("holm/{mark}/mesh"),
            site: format!("holm/{mark}/site/{site}"),
            site_name: site.clone(),
        }
    }

    /// All of them.
    pub fn all(&self) -> Vec<String> {
        vec![self.presence.clone(), self.mesh.clone(), self.site.clone()]
    }

    /// Heartbeats.
    pub fn presence(&self) -> &str {
        &self.presence
    }

    /// Changes of a scope; none for the site of others.
    pub fn of(&self, scope: &Scope) -> Option<&str> {
        match scope {
            Scope::Mesh => Some(&self.mesh),
            Scope::Site(site) if *site == self.site_name => Some(&self.site),
            Scope::Site(_) => None,
        }
    }

    /// Whether changes come on this topic.
    pub fn carries_changes(&self, topic: &str) -> bool {
        topic == self.mesh || topic == self.site
    }
}
