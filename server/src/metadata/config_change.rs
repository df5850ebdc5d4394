//! How configuration is changed: pure, the same for topics and for brokers.

use super::ChangeError;
use std::collections::BTreeMap;

/// What has configuration that can be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Configurable {
    Topic(String),
    /// The broker of this number; `None`: all brokers.
    Broker(Option<i32>),
}

/// What is done to one key. (KIP-339.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Edit {
    Set(String),
    /// Back to the default.
    Delete,
    /// Adds to a list what is not in it.
    Append(String),
    /// Takes from a list what is in it.
    Subtract(String),
}

/// A change of a configuration.
#[derive(Clone, Debug)]
pub(crate) enum ConfigChange {
    /// All that is set, anew.
    Replace(BTreeMap<String, String>),
    /// Key by key.
    Edit(Vec<(String, Edit)>),
}

impl ConfigChange {
    /// What is set after the change; the values are not checked. `known` tells of an edited key why it cannot be
    /// set, or, if it is a list, what it is where it is not set. What is set can be deleted, whatever it is.
    pub(crate) fn apply(
        self,
        set: &BTreeMap<String, String>,
        known: impl Fn(&str) -> Result<Option<String>, ChangeError>,
    ) -> Result<BTreeMap<String, String>, ChangeError> {
        let edits = match self {
            Self::Replace(all) => return Ok(all),
            Self::Edit(edits) => edits,
        };
        let mut changed = set.clone();
        for (name, edit) in edits {
            if edit == Edit::Delete && changed.remove(&name).is_some() {
                continue;
            }
            let list_default = known(&name)?;
            let list = || {
                let default = list_default.ok_or_else(|| format!("{name} is no list"))?;
                let now = set.get(&name).cloned().unwrap_or(default);
                let values = now.split(',').map(|one| one.trim().to_owned()).filter(|one| !one.is_empty());
                Ok::<Vec<String>, ChangeError>(values.collect())
            };
            let value = match edit {
                Edit::Delete => continue,
                Edit::Set(value) => value,
                Edit::Append(values) => {
                    let mut now = list()?;
                    for one in values.split(',').map(str::trim) {
                        if !now.iter().any(|other| other == one) {
                            now.push(one.to_owned());
                        }
                    }
                    now.join(",")
                }
                Edit::Subtract(values) => {
                    let mut now = list()?;
                    now.retain(|one| !values.split(',').any(|other| other.trim() == one));
                    now.join(",")
                }
            };
            changed.insert(name, value);
        }
        Ok(changed)
    }
}
