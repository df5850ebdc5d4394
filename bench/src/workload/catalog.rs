//! The workloads of `bench/workloads`, built in, so that the program alone is enough.

/// Name and text of each.
macro_rules! workloads {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/workloads/", $name, ".toml")))),*]
    };
}

/// Those that there are.
pub(crate) const WORKLOADS: &[(&str, &str)] = workloads![
    "omb-1-topic-1-partition-100b",
    "omb-1-topic-1-partition-1kb",
    "omb-1-topic-16-partitions-100b",
    "omb-1-topic-16-partitions-1kb",
    "omb-1-topic-100-partitions-100b",
    "omb-1-topic-100-partitions-1kb",
    "omb-100-topics-1kb",
    "omb-backlog-1kb",
    "durable-1-partition",
    "durable-16-partitions",
    "durable-128-partitions",
    "durable-1000-partitions",
    "one-record-64-connections",
    "flash-sale",
    "cold-beside-hot",
    "10-partitions",
    "10000-partitions",
    "fan-out",
    "group",
    "ramp",
    "zipf-zstd",
];

/// The text of a workload.
pub(crate) fn find(name: &str) -> Option<&'static str> {
    WORKLOADS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// Names and descriptions, a line each.
pub(crate) fn list() -> String {
    let mut text = String::new();
    for (name, content) in WORKLOADS {
        let parsed = super::Workload::parse_with(content, &[]);
        let description = parsed.map_or_else(|error| error.to_string(), |workload| workload.description);
        text += &format!("{name:<34}{description}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Workload;

    #[test]
    fn every_file_is_built_in_and_sound() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/workloads");
        let mut files: Vec<String> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            // Those of `compare` are built into it.
            .filter(|name| name != "compare")
            .collect();
        files.sort();
        let mut known: Vec<String> = WORKLOADS.iter().map(|(name, _)| format!("{name}.toml")).collect();
        known.sort();
        assert_eq!(files, known);
        for (name, text) in WORKLOADS {
            let workload = Workload::parse(text).unwrap();
            assert_eq!(workload.name, *name);
            assert!(!workload.description.is_empty());
        }
    }
}
