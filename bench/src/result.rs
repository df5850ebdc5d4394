//! What commands leave behind for other commands: files of JSON with a named format.

pub(crate) mod compare;
pub(crate) mod cost;
pub(crate) mod figures;
pub(crate) mod run;
