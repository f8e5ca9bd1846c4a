//! A private folder with the code of components that were compiled before.
//!
//! The folder belongs to one user, and nobody else may look inside. Each entry has a MAC of its name and its code, under
//! a key that lies in the folder too: what is damaged, cut, moved from another name or put there by somebody who has
//! not the key is no entry, and is made anew.

use std::{
    fmt,
    fs::{self, DirBuilder, File, OpenOptions},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process,
    time::SystemTime,
};

use hmac::{Hmac, Mac as _};
use nix::unistd::geteuid;
use sha2::Sha256;
use thiserror::Error;
use wasmtime::Engine;

use crate::policy::{engine::Compiler, limits::CODE_BYTES_MAX, load::Digest};

/// What an entry starts with; another form of entries has another one.
const MAGIC: &[u8] = b"tce code 1\n";
/// The MAC that follows, and the key.
const MAC_BYTES: usize = 32;
const KEY_BYTES: usize = 32;
const KEY_FILE: &str = "key";
/// What the name of an entry ends with, and that of one that is being written.
const ENTRY: &str = "code";
const UNFINISHED: &str = "new";
/// Entries that are kept, the youngest first, and their bytes. A policy takes one for each compiler and version of this
/// program.
const ENTRIES_MAX: usize = 64;
const BYTES_MAX: u64 = 1 << 30;

/// Why a folder is not used.
#[derive(Debug, Error)]
pub enum CacheError {
    /// It cannot be made or read.
    #[error("{path}: {error}")]
    Io {
        /// The file or the folder.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// It is not this user's, or others may look inside.
    #[error("{0} is not a folder that is this user's alone (mode 0700)")]
    Shared(PathBuf),
}

/// The folder, and the key of its entries.
#[derive(Clone)]
pub struct Cache {
    folder: PathBuf,
    key: [u8; KEY_BYTES],
}

/// The name of an entry: of which component, by which compiler, for which wasmtime and configuration.
pub(super) struct EntryName(String);

impl EntryName {
    pub(super) fn new(digest: Digest, compiler: Compiler, engine: &Engine) -> Self {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Self(format!("{digest}-{compiler}-{:016x}.{ENTRY}", hasher.finish()))
    }
}

impl Cache {
    /// A folder, which is made if it is not there.
    ///
    /// # Errors
    /// [`CacheError`].
    pub fn open(folder: PathBuf) -> Result<Self, CacheError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error| CacheError::Io { path, error }
        };
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(failed(&folder))?;
        if !is_private(&fs::symlink_metadata(&folder).map_err(failed(&folder))?) {
            return Err(CacheError::Shared(folder));
        }
        let path = folder.join(KEY_FILE);
        let key = match read_key(&path) {
            Some(key) => key,
            None => make_key(&path).map_err(failed(&path))?,
        };
        Ok(Self { folder, key })
    }

    /// The code under a name. What is there and is none is removed.
    pub(super) fn find(&self, name: &EntryName) -> Option<Vec<u8>> {
        let path = self.folder.join(&name.0);
        let mut bytes = Vec::new();
        let file = File::open(&path).ok()?;
        file.take(CODE_BYTES_MAX.saturating_add(1)).read_to_end(&mut bytes).ok()?;
        if let Some(start) = self.proven(name, &bytes) {
            bytes.drain(..start);
            return Some(bytes);
        }
        let _ = fs::remove_file(path);
        None
    }

    /// Where the code starts in an entry that is one.
    fn proven(&self, name: &EntryName, bytes: &[u8]) -> Option<usize> {
        let (mac, code) = bytes.strip_prefix(MAGIC)?.split_at_checked(MAC_BYTES)?;
        self.mac(name, code).verify_slice(mac).ok()?;
        Some(MAGIC.len() + MAC_BYTES)
    }

    fn mac(&self, name: &EntryName, code: &[u8]) -> Hmac<Sha256> {
        let mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("a key of any length will do");
        // The name has no zero in it, so that name and code cannot be taken for one another.
        mac.chain_update(name.0.as_bytes()).chain_update([0]).chain_update(code)
    }

    /// Stores code under a name: wholly, or not at all.
    pub(super) fn keep(&self, name: &EntryName, code: &[u8]) -> io::Result<()> {
        let unfinished = self.folder.join(format!("{}.{}.{UNFINISHED}", name.0, process::id()));
        let written = self.write(&unfinished, name, code);
        let stored = written.and_then(|()| fs::rename(&unfinished, self.folder.join(&name.0)));
        if stored.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        self.make_room();
        stored
    }

    fn write(&self, path: &Path, name: &EntryName, code: &[u8]) -> io::Result<()> {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(MAGIC)?;
        file.write_all(&self.mac(name, code).finalize().into_bytes())?;
        file.write_all(code)
    }

    /// Removes the eldest entries beyond the limits, and what a process left that died while it wrote.
    fn make_room(&self) {
        let mut files = self.files();
        files.sort_by(|one, other| other.cmp(one));
        let mut bytes = 0_u64;
        for (number, (_, size, path)) in files.into_iter().enumerate() {
            bytes = bytes.saturating_add(size);
            if number >= ENTRIES_MAX || bytes > BYTES_MAX {
                let _ = fs::remove_file(path);
            }
        }
    }

    /// Entries and unfinished ones, with when they were written and their sizes.
    fn files(&self) -> Vec<(SystemTime, u64, PathBuf)> {
        let Ok(folder) = fs::read_dir(&self.folder) else { return Vec::new() };
        let paths = folder.filter_map(|entry| Some(entry.ok()?.path()));
        let is_ours = |path: &PathBuf| {
            path.extension().is_some_and(|end| [ENTRY, UNFINISHED].iter().any(|it| end == *it))
        };
        let found = paths.filter(is_ours).filter_map(|path| {
            let metadata = fs::symlink_metadata(&path).ok()?;
            Some((metadata.modified().ok()?, metadata.len(), path))
        });
        found.collect()
    }
}

/// Whether it is a folder, or a file, of this user's that nobody else may use.
fn is_private(metadata: &fs::Metadata) -> bool {
    let is_known = metadata.is_dir() || metadata.is_file();
    is_known && metadata.uid() == geteuid().as_raw() && metadata.mode() & 0o077 == 0
}

fn read_key(path: &Path) -> Option<[u8; KEY_BYTES]> {
    let is_ours = fs::symlink_metadata(path).is_ok_and(|found| is_private(&found));
    fs::read(path).ok().filter(|_| is_ours)?.try_into().ok()
}

/// A key of its own for each folder. Entries under another one are none any more.
fn make_key(path: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let mut key = [0; KEY_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut key)?;
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(&key)?;
    Ok(key)
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("folder", &self.folder).finish_non_exhaustive()
    }
}
