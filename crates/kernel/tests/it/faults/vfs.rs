//! SQLite's door to the files of some folders, with a [`Disk`] in it: what is written, truncated, synced and deleted goes
//! through the disk, which may refuse.
//!
//! The file system that SQLite uses by default is replaced once per process by a copy of itself whose `xOpen` and `xDelete`
//! know the folders that are watched. A file in one of them keeps its own methods but for those four. All others are as before.

use super::disk::{Change, Disk, sqlite_error};
use rusqlite::ffi;
use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The system that was the default before, and the methods of its files by what they replace.
struct Original(*mut ffi::sqlite3_vfs);

// SAFETY: SQLite keeps a registered system for ever, and its own ones may be called from any thread.
unsafe impl Send for Original {}
// SAFETY: as above.
unsafe impl Sync for Original {}

static ORIGINAL: OnceLock<Original> = OnceLock::new();
static WATCHED: Mutex<Vec<(PathBuf, Arc<Disk>)>> = Mutex::new(Vec::new());
static OPEN: Mutex<Option<HashMap<usize, File>>> = Mutex::new(None);

/// A file that SQLite has open, by the address of its `sqlite3_file`.
#[derive(Clone)]
struct File {
    disk: Arc<Disk>,
    /// The life of the process that opened it.
    life: u32,
    folder: PathBuf,
    name: String,
    /// Its own methods.
    methods: &'static ffi::sqlite3_io_methods,
}

/// Watches the files in a folder, and in those in it, until it is dropped.
pub struct Watch(PathBuf);

impl Watch {
    pub fn on(folder: &Path, disk: &Arc<Disk>) -> Self {
        ORIGINAL.get_or_init(install);
        lock(&WATCHED).push((folder.to_owned(), Arc::clone(disk)));
        Self(folder.to_owned())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        lock(&WATCHED).retain(|(folder, _)| *folder != self.0);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn install() -> Original {
    // SAFETY: a null name asks for the default system, which exists for ever; a copy of it is valid wherever it is.
    unsafe {
        let original = ffi::sqlite3_vfs_find(std::ptr::null());
        let mut copy = Box::new(*original);
        copy.zName = c"watched".as_ptr();
        copy.pNext = std::ptr::null_mut();
        copy.xOpen = Some(open);
        copy.xDelete = Some(delete);
        assert_eq!(ffi::sqlite3_vfs_register(Box::into_raw(copy), 1), ffi::SQLITE_OK);
        Original(original)
    }
}

/// The path that SQLite gives; a temporary file has none.
fn path_of(path: *const c_char) -> Option<PathBuf> {
    if path.is_null() {
        return None;
    }
    // SAFETY: SQLite gives a path that ends in 0.
    Some(unsafe { CStr::from_ptr(path) }.to_str().ok()?.into())
}

fn watched(path: &Path) -> Option<(Arc<Disk>, String)> {
    let disks = lock(&WATCHED);
    let (_, disk) = disks.iter().find(|(folder, _)| path.starts_with(folder))?;
    Some((Arc::clone(disk), path.file_name()?.to_str()?.to_owned()))
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    path: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    let original = ORIGINAL.get().expect("installed").0;
    // SAFETY: the arguments are SQLite's; a file that is open has methods, which live for ever.
    unsafe {
        let code = (*original).xOpen.expect("SQLite's own has it")(original, path, file, flags, out);
        if code == ffi::SQLITE_OK
            && let Some(path) = path_of(path)
            && let Some((disk, name)) = watched(&path)
        {
            let methods = &*(*file).pMethods;
            lock(&OPEN)
                .get_or_insert_default()
                .insert(file as usize, File { life: disk.life(), disk, name, folder: path.with_file_name(""), methods });
            (*file).pMethods = replaced(methods);
        }
        code
    }
}

/// The methods of a file with four of them replaced: made once for each original, of which there are a few.
fn replaced(methods: &'static ffi::sqlite3_io_methods) -> *const ffi::sqlite3_io_methods {
    static MADE: Mutex<Option<HashMap<usize, usize>>> = Mutex::new(None);
    let mut made = lock(&MADE);
    let make = || {
        let mut copy = Box::new(*methods);
        copy.xWrite = Some(write);
        copy.xTruncate = Some(truncate);
        copy.xSync = Some(sync);
        copy.xClose = Some(close);
        Box::into_raw(copy) as usize
    };
    let address = *made.get_or_insert_default().entry(std::ptr::from_ref(methods) as usize).or_insert_with(make);
    address as *const ffi::sqlite3_io_methods
}

fn file_at(file: *mut ffi::sqlite3_file) -> File {
    lock(&OPEN).as_ref().and_then(|open| open.get(&(file as usize))).cloned().expect("only watched files have these methods")
}

/// SQLite's code as a result, and back.
fn told(code: c_int) -> Result<(), c_int> {
    if code == ffi::SQLITE_OK { Ok(()) } else { Err(code) }
}

fn tell(result: Result<(), c_int>) -> c_int {
    result.err().unwrap_or(ffi::SQLITE_OK)
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, data: *const c_void, length: c_int, offset: i64) -> c_int {
    let File { disk, life, name, methods, .. } = file_at(file);
    let real = methods.xWrite.expect("SQLite's own has it");
    // SAFETY: SQLite gives `length` bytes at `data`; the method is called with the file that it belongs to, and at most these bytes.
    unsafe {
        let bytes = std::slice::from_raw_parts(data.cast::<u8>(), usize::try_from(length).expect("a length"));
        let change = Change::Write { offset: usize::try_from(offset).expect("an offset"), bytes: bytes.to_vec() };
        tell(disk.change(
            life,
            &name,
            change,
            |whole| told(real(file, data, if whole { length } else { length / 2 }, offset)),
            sqlite_error,
        ))
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    let File { disk, life, name, methods, .. } = file_at(file);
    let change = Change::Truncate(usize::try_from(size).expect("a size"));
    // SAFETY: the method is called with the file that it belongs to.
    let real = |_| told(unsafe { methods.xTruncate.expect("SQLite's own has it")(file, size) });
    tell(disk.change(life, &name, change, real, sqlite_error))
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    let File { disk, life, name, methods, .. } = file_at(file);
    // SAFETY: the method is called with the file that it belongs to.
    let real = |_| told(unsafe { methods.xSync.expect("SQLite's own has it")(file, flags) });
    tell(disk.change(life, &name, Change::Sync, real, sqlite_error))
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    let methods = file_at(file).methods;
    lock(&OPEN).get_or_insert_default().remove(&(file as usize));
    // SAFETY: the method is called with the file that it belongs to, once.
    unsafe { methods.xClose.expect("SQLite's own has it")(file) }
}

unsafe extern "C" fn delete(_: *mut ffi::sqlite3_vfs, path: *const c_char, sync_folder: c_int) -> c_int {
    let original = ORIGINAL.get().expect("installed").0;
    // SAFETY: the arguments are SQLite's.
    let real = || unsafe { (*original).xDelete.expect("SQLite's own has it")(original, path, sync_folder) };
    let Some(path) = path_of(path) else { return real() };
    let Some((disk, name)) = watched(&path) else { return real() };
    // What is deleted is not open, but the database that it belongs to is.
    let folder = path.with_file_name("");
    let life = lock(&OPEN).get_or_insert_default().values().find(|f| f.folder == folder).map(|f| f.life);
    tell(disk.change(life.unwrap_or(disk.life()), &name, Change::Delete, |_| told(real()), sqlite_error))
}
