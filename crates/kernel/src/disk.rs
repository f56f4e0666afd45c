//! How files reach the disk: the few operations by which the audit log, the live tables and the erasure list are written, so that
//! a test can make each of them fail, or lose what was not synced. (The journal's files are SQLite's, which has a door of its own.)

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How files are changed. The methods as they stand are the real ones.
pub trait Disk: Send + Sync {
    /// Makes the new file `path`.
    fn create(&self, path: &Path, options: &OpenOptions) -> io::Result<File> {
        options.open(path)
    }

    /// Writes all of `bytes` where `file`, which is at `path`, stands: at its end.
    fn append(&self, _path: &Path, mut file: &File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    /// Shortens the file at `path` to `len` bytes.
    fn cut(&self, path: &Path, len: u64) -> io::Result<()> {
        File::options().write(true).open(path)?.set_len(len)
    }

    /// Makes the content of `file`, which is at `path`, durable (fdatasync). Its name may not be: see [`Disk::sync_folder`].
    fn sync(&self, _path: &Path, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    /// Gives a file another name in its folder, in the place of one that has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    /// Removes a folder that is empty.
    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    /// Makes durable which files the folder `path` has: those that were made, renamed and removed in it.
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

/// The machine's disk.
#[derive(Clone, Copy, Debug)]
pub struct RealDisk;

impl Disk for RealDisk {}

/// A folder on a disk, whose files are replaced as a whole or written from their beginning.
#[derive(Clone)]
pub(crate) struct Folder {
    path: PathBuf,
    disk: Arc<dyn Disk>,
}

/// A file that is being written. Only its owner reads it.
pub(crate) struct Output {
    path: PathBuf,
    file: File,
    disk: Arc<dyn Disk>,
}

impl Folder {
    pub(crate) fn new(path: &Path, disk: &Arc<dyn Disk>) -> Self {
        Self { path: path.to_owned(), disk: Arc::clone(disk) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in it.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The names of what is in it.
    pub(crate) fn names(&self) -> io::Result<Vec<String>> {
        fs::read_dir(&self.path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    /// A file's bytes; `None` if it is absent.
    pub(crate) fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.at(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a file. One of that name goes first: whoever reads it keeps what they have.
    pub(crate) fn create(&self, name: &str) -> io::Result<Output> {
        let path = self.at(name);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        if path.exists() {
            self.disk.remove(&path)?;
        }
        let file = self.disk.create(&path, &options)?;
        Ok(Output { path, file, disk: Arc::clone(&self.disk) })
    }

    /// Gives a file new content, whole or not at all: written under another name (`NAME.new`), synced, then renamed. Until the
    /// folder is synced, a power cut may leave the old content, or none if there was none, but never half of the new.
    pub(crate) fn replace(&self, name: &str, content: &[&[u8]]) -> io::Result<()> {
        let new = format!("{name}.new");
        let mut file = self.create(&new)?;
        content.iter().try_for_each(|part| file.write_all(part))?;
        file.sync()?;
        self.disk.rename(&file.path, &self.at(name))
    }

    /// Shortens a file to `len` bytes.
    pub(crate) fn cut(&self, name: &str, len: u64) -> io::Result<()> {
        self.disk.cut(&self.at(name), len)
    }

    /// Removes a file.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(&self.at(name))
    }

    /// Makes durable which files it has.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.disk.sync_folder(&self.path)
    }
}

impl Output {
    /// Makes what was written durable; the file's name is when its folder is synced.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.disk.sync(&self.path, &self.file)
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.disk.append(&self.path, &self.file, bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
