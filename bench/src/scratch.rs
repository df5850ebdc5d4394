//! A directory for the files of a run, which goes when the run ends, however it ends.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tempfile::TempDir;

use crate::stop::Stop;

/// Files cannot be made or written where the figures are to be taken.
#[derive(Debug, thiserror::Error)]
#[error("cannot work with files in {}: {source}; choose another --dir, or look at space and limits", dir.display())]
pub(crate) struct ScratchError {
    dir: PathBuf,
    source: io::Error,
}

/// A temporary directory. Removed when dropped, and by the second Ctrl-C.
#[derive(Debug)]
pub(crate) struct Scratch {
    dir: TempDir,
    stop: Stop,
}

impl Scratch {
    /// Makes a new directory in `parent`.
    pub(crate) fn new(parent: &Path, stop: &Stop) -> Result<Self, ScratchError> {
        let made = tempfile::Builder::new().prefix("ringmain-bench-").tempdir_in(parent);
        let dir = made.map_err(|source| ScratchError { dir: parent.to_path_buf(), source })?;
        stop.remove_at_exit(Some(dir.path().to_path_buf()));
        Ok(Self { dir, stop: stop.clone() })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A path in it.
    pub(crate) fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path().join(name)
    }

    /// A new file in it, for reading and writing.
    pub(crate) fn file(&self, name: impl AsRef<Path>) -> io::Result<File> {
        File::options().read(true).write(true).create_new(true).open(self.join(name))
    }

    /// Syncs the whole file system, so that what one measurement left unwritten does not burden
    /// the next.
    pub(crate) fn settle(&self) -> io::Result<()> {
        let dir = File::open(self.path())?;
        Ok(nix::unistd::syncfs(&dir)?)
    }

    /// Says where it happened.
    pub(crate) fn failed(&self, source: io::Error) -> ScratchError {
        ScratchError { dir: self.path().to_path_buf(), source }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.stop.remove_at_exit(None);
    }
}

/// Allows this process as many open files as it may have: a thousand logs need several thousand.
pub(crate) fn raise_open_files() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Where it is refused, opening the files will say so.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_its_files_along() {
        let parent = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(parent.path(), &Stop::default()).unwrap();
        scratch.file("a").unwrap();
        assert!(scratch.file("a").is_err());
        scratch.settle().unwrap();
        drop(scratch);
        assert_eq!(parent.path().read_dir().unwrap().count(), 0);
    }
}
