//! `partition.metadata`: the id of the log in a directory, as Kafka writes it (KIP-516).

use crate::io::{Io, read_file};
use crate::log::LogId;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::io::{self, ErrorKind};
use std::path::Path;

/// The file's name. A directory without it is no log.
pub(crate) const FILE: &str = "partition.metadata";

/// What the file of a log says.
pub(crate) fn content(id: LogId) -> String {
    format!("version: 0\ntopic_id: {}\n", URL_SAFE_NO_PAD.encode(id.0))
}

pub(crate) fn read(io: &dyn Io, dir: &Path) -> io::Result<LogId> {
    let content = read_file(io, &dir.join(FILE), 4096)?;
    let text = String::from_utf8_lossy(&content);
    let id = text.lines().find_map(|line| line.strip_prefix("topic_id: "));
    id.and_then(|id| URL_SAFE_NO_PAD.decode(id.trim()).ok()?.try_into().ok())
        .map(LogId)
        .ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "it has no valid topic_id"))
}
