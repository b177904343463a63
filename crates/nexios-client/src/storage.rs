//! Storages of positions, so that they outlive the process.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::position::Position;

/// A storage of positions. Rooms continue from the position that an earlier process has handled.
///
/// The client calls it from its own task, with all changes since the last call at once.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use nexios_client::{Connector, FileStorage};
/// let storage = FileStorage::new("positions.json");
/// let client = Connector::new("wss://example.org/live").storage(storage).connect().await?;
/// # Ok(()) }
/// ```
pub trait Storage: Send + Sync + 'static {
    /// Returns all positions, those that moved last at the end.
    ///
    /// # Errors
    /// The storage cannot be read; the client does not start.
    fn load(&self) -> io::Result<Vec<(String, Position)>>;

    /// Stores the positions of rooms; `None` forgets one.
    ///
    /// # Errors
    /// The client reports [`Event::Error`](crate::Event::Error), and continues.
    fn store(&self, changes: Vec<(String, Option<Position>)>) -> io::Result<()>;
}

/// Positions in memory, for clients that follow one another in one process. Clones share them.
///
/// ```
/// use nexios_client::{MemoryStorage, Storage};
/// let storage = MemoryStorage::default();
/// let position = "1-7-000102030405060708090a0b0c0d0e0f".parse().unwrap();
/// storage.store(vec![("news".into(), Some(position))]).unwrap();
/// assert_eq!(storage.load().unwrap()[0].1.offset(), 7);
/// ```
#[derive(Clone, Default, Debug)]
pub struct MemoryStorage(Arc<Mutex<Vec<(String, Position)>>>);

impl Storage for MemoryStorage {
    fn load(&self) -> io::Result<Vec<(String, Position)>> {
        Ok(self.0.lock().clone())
    }

    fn store(&self, changes: Vec<(String, Option<Position>)>) -> io::Result<()> {
        let mut rooms = self.0.lock();
        for (room, position) in changes {
            rooms.retain(|(other, _)| *other != room);
            rooms.extend(position.map(|position| (room, position)));
        }
        Ok(())
    }
}

/// Positions in a file: a JSON array of `[room, position]`, those that moved last at the end. The file is replaced as
/// a whole, so that a crash leaves the old one or the new one. It belongs to one client at a time.
///
/// ```
/// # let directory = std::env::temp_dir().join(format!("nexios-client-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory).unwrap();
/// # let path = directory.join("positions.json");
/// use nexios_client::{FileStorage, Storage};
/// let position = "1-7-000102030405060708090a0b0c0d0e0f".parse().unwrap();
/// FileStorage::new(&path).store(vec![("news".into(), Some(position))]).unwrap();
/// assert_eq!(FileStorage::new(&path).load().unwrap()[0].0, "news");
/// # std::fs::remove_dir_all(&directory).unwrap();
/// ```
#[derive(Debug)]
pub struct FileStorage {
    path: PathBuf,
    rooms: MemoryStorage,
    is_loaded: Mutex<bool>,
}

impl FileStorage {
    /// Creates a storage in a file, which may be missing.
    pub fn new(path: impl AsRef<Path>) -> Self {
        let (rooms, is_loaded) = (MemoryStorage::default(), Mutex::new(false));
        FileStorage { path: path.as_ref().to_owned(), rooms, is_loaded }
    }

    /// Reads the file; positions that cannot be read count as nothing.
    fn read(&self) -> io::Result<()> {
        let mut is_loaded = self.is_loaded.lock();
        if *is_loaded {
            return Ok(());
        }
        let text = match std::fs::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read?,
        };
        let stored: Vec<(String, String)> = serde_json::from_slice(&text).unwrap_or_default();
        let stored = stored.into_iter().filter_map(|(room, position)| Some((room, position.parse().ok()?)));
        *self.rooms.0.lock() = stored.collect();
        *is_loaded = true;
        Ok(())
    }

    fn write(&self) -> io::Result<()> {
        let rooms = self.rooms.load()?;
        let rooms: Vec<_> = rooms.iter().map(|(room, position)| (room, position.to_string())).collect();
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let new = self.path.with_file_name(name);
        std::fs::write(&new, serde_json::to_vec(&rooms)?)?;
        std::fs::rename(&new, &self.path)
    }
}

impl Storage for FileStorage {
    fn load(&self) -> io::Result<Vec<(String, Position)>> {
        self.read()?;
        self.rooms.load()
    }

    fn store(&self, changes: Vec<(String, Option<Position>)>) -> io::Result<()> {
        self.read()?;
        self.rooms.store(changes)?;
        self.write()
    }
}

/// Positions that the application names, over those of another storage.
pub(crate) fn over(stored: Vec<(String, Position)>, given: BTreeMap<String, Position>) -> Vec<(String, Position)> {
    let mut all: Vec<_> = stored.into_iter().filter(|(room, _)| !given.contains_key(room)).collect();
    all.extend(given);
    all
}
