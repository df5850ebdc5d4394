//! The file system and the device under a directory, as the kernel describes them.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// File systems that write through a journal, or a log that does the same, wherever they are.
const ALWAYS_JOURNALED: [&str; 5] = ["xfs", "jfs", "reiserfs", "btrfs", "f2fs"];
/// File systems without one.
const NEVER_JOURNALED: [&str; 5] = ["tmpfs", "ramfs", "ext2", "vfat", "exfat"];

/// Where files of a benchmark lie. What the kernel does not say is `None` or "unknown".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Medium {
    /// Type of the file system and the options it is mounted with.
    pub(crate) filesystem: String,
    /// What is mounted: a device, or what stands in its place.
    pub(crate) device: String,
    /// Whether changes of metadata go through a journal, which makes syncing slower.
    pub(crate) journal: Option<bool>,
    /// "write back" if the device has a cache that must be flushed, else "write through".
    pub(crate) write_cache: Option<String>,
    /// Whether it is a disk that turns, or says so.
    pub(crate) rotational: Option<bool>,
    /// The file behind a loop device.
    pub(crate) backing_file: Option<String>,
}

impl Medium {
    /// Asks the kernel.
    pub(crate) fn of(dir: &Path) -> Self {
        let mount = std::fs::read_to_string("/proc/self/mountinfo")
            .ok()
            .and_then(|mounts| Mount::holding(&dir.canonicalize().ok()?, &mounts));
        let Some(mount) = mount else {
            let unknown = || "unknown".to_string();
            return Self {
                filesystem: unknown(),
                device: unknown(),
                journal: None,
                write_cache: None,
                rotational: None,
                backing_file: None,
            };
        };
        let number = dir.metadata().map(|metadata| metadata.dev()).unwrap_or(0);
        let (major, minor) = (nix::sys::stat::major(number), nix::sys::stat::minor(number));
        let block = |file: &str| sys(&format!("dev/block/{major}:{minor}/{file}"));
        // A partition shares the queue of its disk.
        let queue =
            |file: &str| block(&format!("queue/{file}")).or_else(|| block(&format!("../queue/{file}")));
        Self {
            journal: journal(&mount.kind, &block_name(major, minor)),
            filesystem: format!("{} ({})", mount.kind, mount.options),
            device: mount.source,
            write_cache: queue("write_cache"),
            rotational: queue("rotational").map(|flag| flag == "1"),
            backing_file: block("loop/backing_file"),
        }
    }

    /// In one line.
    pub(crate) fn describe(&self) -> String {
        let mut text = format!("{} on {}", self.filesystem, self.device);
        text += match self.journal {
            Some(true) => ", with a journal",
            Some(false) => ", without a journal",
            None => ", a journal is not known of",
        };
        if let Some(cache) = &self.write_cache {
            text += &format!(", write cache: {cache}");
        }
        if let Some(file) = &self.backing_file {
            text += &format!(", in the file {file}");
        }
        text
    }
}

/// Bytes written so far to the block device under a directory; `None` if there is none.
pub(crate) fn written_bytes(dir: &Path) -> Option<u64> {
    let number = dir.metadata().ok()?.dev();
    let (major, minor) = (nix::sys::stat::major(number), nix::sys::stat::minor(number));
    let stat = sys(&format!("dev/block/{major}:{minor}/stat"))?;
    // The seventh number counts sectors of 512 bytes, whatever the device's own are.
    let sectors: u64 = stat.split_whitespace().nth(6)?.parse().ok()?;
    Some(sectors * 512)
}

/// The kernel's name of a block device; empty if it has none.
fn block_name(major: u64, minor: u64) -> String {
    let link = std::fs::read_link(format!("/sys/dev/block/{major}:{minor}")).unwrap_or_default();
    link.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// ext4 can be made without a journal, and then says that no task runs it.
fn journal(kind: &str, block_name: &str) -> Option<bool> {
    if ALWAYS_JOURNALED.contains(&kind) {
        return Some(true);
    }
    if NEVER_JOURNALED.contains(&kind) {
        return Some(false);
    }
    let task = sys(&format!("fs/{kind}/{block_name}/journal_task"))?;
    Some(task != "<none>")
}

fn sys(path: &str) -> Option<String> {
    let text = std::fs::read_to_string(format!("/sys/{path}")).ok()?;
    Some(text.trim().to_string())
}

/// A line of `/proc/self/mountinfo`.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    kind: String,
    source: String,
    options: String,
}

impl Mount {
    /// The mount that holds `dir`: the longest mount point that is a prefix of it, and of several
    /// over each other the last.
    fn holding(dir: &Path, mounts: &str) -> Option<Self> {
        let parsed = mounts.lines().filter_map(|line| {
            // Optional fields, of any number, end with a dash.
            let (before, behind) = line.split_once(" - ")?;
            let mut before = before.split(' ').skip(4);
            let (point, options) = (before.next()?, before.next()?);
            let mut behind = behind.split(' ');
            let (kind, source) = (behind.next()?.to_string(), behind.next()?.to_string());
            let more = behind.next().unwrap_or_default();
            Some((point, Self { kind, source, options: format!("{options},{more}") }))
        });
        let holding = parsed.filter(|(point, _)| dir.starts_with(point));
        holding.max_by_key(|(point, _)| point.len()).map(|(_, mount)| mount)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
30 22 0:26 / /mnt/a rw - tmpfs tmpfs rw,size=4k
31 22 7:0 / /mnt/a rw,noatime master:3 shared:9 - xfs /dev/loop0 rw,attr2
";

    #[test]
    fn the_last_and_longest_mount_holds_a_directory() {
        let of = |dir: &str| Mount::holding(Path::new(dir), MOUNTS).unwrap();
        assert_eq!(of("/mnt/a/b").kind, "xfs");
        assert_eq!(of("/mnt/a/b").options, "rw,noatime,rw,attr2");
        assert_eq!(of("/mnt/abc").source, "/dev/vda");
        assert_eq!(Mount::holding(Path::new("/"), "nonsense"), None);
    }

    #[test]
    fn some_file_systems_are_known_by_their_type() {
        assert_eq!(journal("xfs", ""), Some(true));
        assert_eq!(journal("tmpfs", ""), Some(false));
        assert_eq!(journal("unheard-of", "nowhere"), None);
    }
}
