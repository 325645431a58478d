//! Scenarios, plans and runs told in words, for people. All pure: data in, text out.

mod explain;
mod story;
mod words;

pub use explain::{Explanation, Moment, explain};
pub(crate) use story::end_of;
pub use story::{Line, story};
pub use words::{amount, lasting, list, promise, request, time, trouble, who};
pub(crate) use words::{split, wrapped};
