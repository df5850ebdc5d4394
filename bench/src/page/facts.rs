//! What stands beside figures: where, when and by what they were measured.

use crate::machine::Machine;
use crate::page::chart::Unit;
use crate::page::figures_file::MachineFacts;
use crate::page::number::show;
use crate::result::run::Tool;
use crate::workload::Durability;

/// Names and what they stand for.
pub(crate) type Facts = Vec<(String, String)>;

/// A moment, in UTC.
pub(crate) fn moment(unix_time_s: u64) -> String {
    let time = i64::try_from(unix_time_s).ok().and_then(|time| jiff::Timestamp::from_second(time).ok());
    time.map_or_else(|| "unknown".into(), |time| time.strftime("%Y-%m-%d %H:%M UTC").to_string())
}

/// A class of durability, as it is written.
pub(crate) fn durability(class: Durability) -> &'static str {
    match class {
        Durability::PageCache => "page cache",
        Durability::Synced => "synced",
    }
}

/// A product with its version, if that is known.
pub(crate) fn product(name: &str, version: &str) -> String {
    if matches!(version, "" | "unknown") {
        format!("{name}, version unknown")
    } else {
        format!("{name} {version}")
    }
}

/// The machine.
pub(crate) fn machine(machine: &Machine) -> Facts {
    let facts = [
        ("Processor", format!("{} × {}", machine.cpus, machine.cpu_model)),
        ("Memory", show(machine.memory_bytes as f64, Unit::Bytes)),
        ("Kernel", machine.kernel.clone()),
        ("File system", machine.medium.describe()),
    ];
    facts.map(|(name, value)| (name.to_owned(), value)).into()
}

/// The machine, as older files know it.
pub(crate) fn older_machine(machine: &MachineFacts) -> Facts {
    let medium = machine.medium.as_ref().map(crate::device::Medium::describe);
    let medium = medium.or_else(|| machine.floor_filesystem.clone()).unwrap_or_else(|| "unknown".into());
    let facts = [
        ("Processor", format!("{} × {}", machine.cpus, machine.cpu_model)),
        ("Memory", show(machine.memory_bytes as f64, Unit::Bytes)),
        ("Kernel", machine.kernel.clone()),
        ("File system", medium),
    ];
    facts.map(|(name, value)| (name.to_owned(), value)).into()
}

/// What measured, and when.
pub(crate) fn tool(tool: &Tool, unix_time_s: u64) -> Facts {
    vec![
        ("Measured".into(), moment(unix_time_s)),
        ("By".into(), format!("{} {}", tool.name, tool.version)),
        ("Command".into(), tool.command.join(" ")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_in_utc() {
        assert_eq!(moment(1_700_000_000), "2023-11-14 22:13 UTC");
        assert_eq!(moment(u64::MAX), "unknown");
    }
}
