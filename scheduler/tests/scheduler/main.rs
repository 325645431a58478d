//! What the scheduler promises, told through a [`world::World`].

mod explaining;
mod fencing;
mod laws;
mod local;
mod mesh;
mod placement;
mod repair;
mod rollout;
mod world;
