//! Paths: finding, making, renaming and removing files and directories.

use super::content::Content;
use super::directory::{Directory, InodeId};
use super::state::{Inode, ROOT, State};
use crate::io::OpenMode;
use std::io::{self, ErrorKind};
use std::path::{Component, Path};

/// The names on the way from the root. A relative path begins there, too.
fn components(path: &Path) -> io::Result<Vec<&str>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.to_str().ok_or(ErrorKind::InvalidInput)?),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return Err(ErrorKind::InvalidInput.into()),
        }
    }
    Ok(names)
}

impl State {
    pub(super) fn dir(&mut self, id: InodeId) -> io::Result<&mut Directory> {
        match self.inodes.get_mut(&id) {
            Some(Inode::Dir(dir)) => Ok(dir),
            Some(Inode::File(_)) => Err(ErrorKind::NotADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    fn walk(&mut self, names: &[&str]) -> io::Result<InodeId> {
        let mut at = ROOT;
        for name in names {
            at = self.dir(at)?.get(name).ok_or(ErrorKind::NotFound)?;
        }
        Ok(at)
    }

    pub(super) fn find(&mut self, path: &Path) -> io::Result<InodeId> {
        self.walk(&components(path)?)
    }

    pub(super) fn is_dir(&self, id: InodeId) -> bool {
        matches!(self.inodes.get(&id), Some(Inode::Dir(_)))
    }

    /// The directory that holds the last name of the path, and that name.
    fn parent<'a>(&mut self, path: &'a Path) -> io::Result<(InodeId, &'a str)> {
        let names = components(path)?;
        let (name, above) = names.split_last().ok_or(ErrorKind::InvalidInput)?;
        let dir = self.walk(above)?;
        self.dir(dir)?;
        Ok((dir, name))
    }

    /// Finds a file, or makes it where the mode says so.
    pub(super) fn open(&mut self, path: &Path, mode: OpenMode) -> io::Result<InodeId> {
        match self.find(path) {
            Ok(id) if self.is_dir(id) => Err(ErrorKind::IsADirectory.into()),
            Ok(id) => Ok(id),
            Err(err) if err.kind() == ErrorKind::NotFound && mode == OpenMode::Any => {
                self.make(path, Inode::File(Content::default()))
            }
            Err(err) => Err(err),
        }
    }

    fn make(&mut self, path: &Path, inode: Inode) -> io::Result<InodeId> {
        let (dir, name) = self.parent(path)?;
        let (turn, happens) = self.begin_change()?;
        self.room_for_name()?;
        let mut id = ROOT;
        if happens {
            id = self.add(inode);
            self.dir(dir)?.link(name, id);
        }
        Self::end_change(turn)?;
        Ok(id)
    }

    pub(super) fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        if self.find(path).is_ok() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        self.make(path, Inode::Dir(Directory::default())).map(drop)
    }

    /// As rename(2): what has the new name goes, but a directory only if it is empty.
    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (from_dir, from_name) = self.parent(from)?;
        let (to_dir, to_name) = self.parent(to)?;
        let inode = self.dir(from_dir)?.get(from_name).ok_or(ErrorKind::NotFound)?;
        if let Some(replaced) = self.dir(to_dir)?.get(to_name) {
            match (self.is_dir(inode), self.is_dir(replaced)) {
                (false, true) => return Err(ErrorKind::IsADirectory.into()),
                (true, false) => return Err(ErrorKind::NotADirectory.into()),
                (true, true) if !self.dir(replaced)?.names().is_empty() => {
                    return Err(ErrorKind::DirectoryNotEmpty.into());
                }
                _ => {}
            }
        }
        let (turn, happens) = self.begin_change()?;
        if happens && from_dir == to_dir {
            self.dir(from_dir)?.rename(inode, to_name);
        } else if happens {
            // Two directories, each of which is synced for itself.
            self.dir(to_dir)?.link(to_name, inode);
            self.dir(from_dir)?.unlink(from_name);
        }
        Self::end_change(turn)
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        let (dir, name) = self.parent(path)?;
        let id = self.dir(dir)?.get(name).ok_or(ErrorKind::NotFound)?;
        if self.is_dir(id) {
            return Err(ErrorKind::IsADirectory.into());
        }
        let (turn, happens) = self.begin_change()?;
        if happens {
            self.dir(dir)?.unlink(name);
        }
        Self::end_change(turn)
    }

    /// Entry by entry, each of which a crash may take back for itself.
    pub(super) fn remove_dir(&mut self, path: &Path) -> io::Result<()> {
        let (dir, name) = self.parent(path)?;
        let id = self.dir(dir)?.get(name).ok_or(ErrorKind::NotFound)?;
        let (turn, happens) = self.begin_change()?;
        if happens {
            self.empty(id)?;
            self.dir(dir)?.unlink(name);
        } else {
            // The machine goes off in the middle.
            for inside in self.dir(id)?.names() {
                if self.random.coin() {
                    self.dir(id)?.unlink(&inside);
                }
            }
        }
        Self::end_change(turn)
    }

    fn empty(&mut self, dir: InodeId) -> io::Result<()> {
        for name in self.dir(dir)?.names() {
            if let Some(inside) = self.dir(dir)?.unlink(&name)
                && self.is_dir(inside)
            {
                self.empty(inside)?;
            }
        }
        Ok(())
    }
}
