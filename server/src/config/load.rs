//! Reading configuration: a TOML file, then `--set`, then named options; the last one counts.

use super::{Config, Endpoint, Key};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a configuration cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration file {} cannot be read: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("the configuration file {} is not valid TOML: {reason}", .path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
    /// No such key.
    #[error("unknown configuration key {name:?}{}; `ringmain serve --list-config` shows all keys",
        .similar.map(|s| format!(", did you mean {s:?}?")).unwrap_or_default())]
    Unknown {
        /// As it was written.
        name: String,
        /// A key with a similar name.
        similar: Option<&'static str>,
    },
    /// The value does not fit the key.
    #[error("configuration key {name}: {reason}")]
    Value {
        /// The key.
        name: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Not `KEY=VALUE`.
    #[error("{0:?} is not KEY=VALUE")]
    NotAPair(String),
    /// Clients could not be told where to connect.
    #[error(
        "listening on every address ({0}) needs --advertised-listeners HOST:PORT: clients must be told one they can reach"
    )]
    NotAdvertised(std::net::SocketAddr),
}

impl Config {
    /// Sets one key.
    ///
    /// # Errors
    /// There is no such key, or the value does not fit it.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), ConfigError> {
        let Some(key) = Self::KEYS.iter().find(|key| key.name == name) else {
            let score = |key: &Key| strsim::jaro_winkler(key.name, name);
            let best = Self::KEYS.iter().max_by(|a, b| score(a).total_cmp(&score(b)));
            let similar = best.filter(|key| score(key) > 0.8).map(|key| key.name);
            return Err(ConfigError::Unknown { name: name.to_owned(), similar });
        };
        (key.set)(self, value).map_err(|reason| ConfigError::Value { name: key.name, reason })
    }

    /// Sets a `KEY=VALUE`.
    ///
    /// # Errors
    /// As [`Config::set`].
    pub fn set_pair(&mut self, pair: &str) -> Result<(), ConfigError> {
        let (name, value) = pair.split_once('=').ok_or_else(|| ConfigError::NotAPair(pair.to_owned()))?;
        self.set(name.trim(), value.trim())
    }

    /// The value of every key, as text.
    pub fn entries(&self) -> impl Iterator<Item = (&'static Key, String)> + '_ {
        Self::KEYS.iter().map(|key| (key, (key.get)(self)))
    }

    /// Sets what a TOML file says. Dotted keys may be written as they are or as tables.
    ///
    /// # Errors
    /// The file cannot be read, is not TOML, or sets what cannot be set.
    pub fn load(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let table: toml::Table = text.parse().map_err(|err: toml::de::Error| ConfigError::Toml {
            path: path.to_owned(),
            reason: err.to_string().trim().replace('\n', " "),
        })?;
        let mut pairs = Vec::new();
        flatten("", &table, &mut pairs);
        pairs.iter().try_for_each(|(name, value)| self.set(name, value))
    }

    /// What clients are told, once the port is known.
    ///
    /// # Errors
    /// It listens on every address and nothing is advertised.
    pub fn advertise(&self, bound: std::net::SocketAddr) -> Result<Endpoint, ConfigError> {
        match &self.advertised {
            Some(endpoint) => Ok(endpoint.clone()),
            None if bound.ip().is_unspecified() => Err(ConfigError::NotAdvertised(bound)),
            None => Ok(Endpoint { host: bound.ip().to_string(), port: bound.port() }),
        }
    }
}

fn flatten(prefix: &str, table: &toml::Table, out: &mut Vec<(String, String)>) {
    for (name, value) in table {
        let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            toml::Value::Table(inner) => flatten(&name, inner, out),
            toml::Value::String(text) => out.push((name, text.clone())),
            other => out.push((name, other.to_string())),
        }
    }
}

/// `HOST:PORT`, with or without a `PLAINTEXT://` before it.
pub(super) fn endpoint(text: &str) -> Result<Endpoint, String> {
    let wrong = || format!("{text:?} is not HOST:PORT");
    let bare = text.strip_prefix("PLAINTEXT://").unwrap_or(text);
    let (host, port) = bare.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = port.parse().map_err(|_| wrong())?;
    if host.is_empty() || port == 0 || matches!(host, "0.0.0.0" | "::") {
        return Err(format!("{text:?} is not an address that a client can reach"));
    }
    Ok(Endpoint { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_a_value_that_its_key_takes() {
        let defaults = Config::default();
        let mut config = Config::default();
        for (key, value) in defaults.entries().filter(|(_, value)| !value.is_empty()) {
            config.set(key.name, &value).unwrap();
        }
    }

    #[test]
    fn an_unknown_key_is_refused_with_a_similar_one() {
        let err = Config::default().set_pair("log.segment.byte=1").unwrap_err();
        assert!(matches!(err, ConfigError::Unknown { similar: Some("log.segment.bytes"), .. }));
        assert!(matches!(
            Config::default().set_pair("xyzzy=1"),
            Err(ConfigError::Unknown { similar: None, .. })
        ));
        assert!(matches!(Config::default().set_pair("xyzzy"), Err(ConfigError::NotAPair(_))));
        assert!(matches!(Config::default().set_pair("node.id=-3"), Err(ConfigError::Value { .. })));
    }

    #[test]
    fn toml_keys_may_be_dotted_or_nested() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ringmain.toml");
        std::fs::write(
            &path,
            "num.partitions = 3\n[log]\nsegment.bytes = 4096\n[auto.create.topics]\nenable = false\n",
        )
        .unwrap();
        let mut config = Config::default();
        config.load(&path).unwrap();
        assert_eq!((config.num_partitions, config.log.segment_bytes), (3, 4096));
        assert!(!config.auto_create_topics);
    }

    #[test]
    fn every_address_needs_an_advertised_one() {
        let mut config = Config::default();
        let every = std::net::SocketAddr::from(([0, 0, 0, 0], 9092));
        assert!(matches!(config.advertise(every), Err(ConfigError::NotAdvertised(_))));
        assert!(config.set_pair("advertised.listeners=0.0.0.0:9092").is_err());
        config.set_pair("advertised.listeners=PLAINTEXT://broker.example:19092").unwrap();
        assert_eq!(config.advertise(every).unwrap().to_string(), "broker.example:19092");
    }
}
