//! Reports: what came of one run or of many, as text, as JSON and as a page with pictures. All pure:
//! a [`Campaign`] in, a `String` out.

mod campaign;
mod html;
mod json;
mod picture;
#[cfg(test)]
pub(crate) mod sample;
mod text;

pub use campaign::{Campaign, Failure, Kept, Requests, Row, Source, Totals};
pub use html::page;
pub use json::json;
pub(crate) use text::kind_name;
pub use text::text;
