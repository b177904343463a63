//! The file of a Unix socket: which files are replaced at the start, and which are removed at the end.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

/// Nodes that wait to be let in.
const BACKLOG: i32 = 1024;

/// The file of a socket that this process has bound. Dropping it removes the file if it is still that file.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    /// Binds a listening socket at a path. Replaces only a socket that nobody listens on.
    pub(crate) fn bind(path: &Path) -> io::Result<(OwnedFd, Self)> {
        // The working directory may be another at the end.
        let path = std::path::absolute(path)?;
        make_room(&path)?;
        let socket = std::os::unix::net::UnixListener::bind(&path)?;
        Ok((socket.into(), SocketFile::of(path)?))
    }

    fn of(path: PathBuf) -> io::Result<Self> {
        let bound = path.symlink_metadata()?;
        Ok(SocketFile { device: bound.dev(), inode: bound.ino(), path })
    }
}

/// Listens on a Unix socket to which other users of the machine cannot connect, at no moment: its file has the mode
/// 0600 before anybody listens. Replaces only a socket that nobody listens on.
///
/// # Errors
/// What the operating system says; `AddrInUse` where somebody listens there; `AlreadyExists` where there is something
/// else.
pub fn bind_private(path: &Path) -> io::Result<(std::os::unix::net::UnixListener, SocketFile)> {
    let path = std::path::absolute(path)?;
    make_room(&path)?;
    let private = std::fs::Permissions::from_mode(0o600);
    let socket = File::from(OwnedFd::from(Socket::new(Domain::UNIX, Type::STREAM, None)?));
    // Linux makes the file with the mode of the socket; other systems know no mode of sockets.
    let _ = socket.set_permissions(private.clone());
    let socket = Socket::from(OwnedFd::from(socket));
    socket.bind(&SockAddr::unix(&path)?)?;
    std::fs::set_permissions(&path, private)?;
    socket.listen(BACKLOG)?;
    Ok((OwnedFd::from(socket).into(), SocketFile::of(path)?))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let same = |data: std::fs::Metadata| (data.dev(), data.ino()) == (self.device, self.inode);
        if self.path.symlink_metadata().is_ok_and(same) {
            // A directory that can no longer be written leaves a file that the next start replaces.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn make_room(path: &Path) -> io::Result<()> {
    let kind = match path.symlink_metadata() {
        Ok(found) => found.file_type(),
        // A missing directory is reported by the call that binds.
        Err(_) => return Ok(()),
    };
    if !kind.is_socket() {
        let text = "a file is there that is not a socket: it is not replaced";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    match is_abandoned(path)? {
        true => std::fs::remove_file(path),
        false => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there")),
    }
}

/// Returns true if nobody listens. Does not wait: the queue of a busy listener may be full.
fn is_abandoned(path: &Path) -> io::Result<bool> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    let connected = socket.connect(&SockAddr::unix(path)?);
    Ok(connected.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixDatagram, UnixListener};

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("nexios-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir_all(&path).unwrap();
            Directory(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn only_a_socket_that_nobody_listens_on_is_replaced() {
        let directory = Directory::new("replaced");
        let path = |name: &str| directory.0.join(name);
        std::fs::write(path("notes.txt"), "precious").unwrap();
        std::fs::create_dir(path("directory")).unwrap();
        drop(UnixListener::bind(path("abandoned")).unwrap());
        std::os::unix::fs::symlink(path("notes.txt"), path("link")).unwrap();
        std::os::unix::fs::symlink(path("abandoned"), path("link-to-socket")).unwrap();
        std::os::unix::fs::symlink(path("nowhere"), path("dangling")).unwrap();
        let _live = UnixListener::bind(path("live")).unwrap();
        let _datagrams = UnixDatagram::bind(path("datagrams")).unwrap();
        for name in ["notes.txt", "directory", "link", "link-to-socket", "dangling"] {
            let error = SocketFile::bind(&path(name)).err().unwrap();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists, "{name}: {error}");
        }
        for name in ["live", "datagrams"] {
            let error = SocketFile::bind(&path(name)).err().unwrap();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{name}: {error}");
            assert_eq!(bind_private(&path(name)).unwrap_err().kind(), io::ErrorKind::AddrInUse, "{name}");
        }
        assert_eq!(bind_private(&path("notes.txt")).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(path("notes.txt")).unwrap(), "precious");
        SocketFile::bind(&path("abandoned")).unwrap();
    }

    #[test]
    fn the_file_is_removed_only_if_it_is_still_the_same() {
        let directory = Directory::new("removed");
        let path = directory.0.join("socket");
        drop(SocketFile::bind(&path).unwrap());
        assert!(!path.exists());
        let (_socket, file) = SocketFile::bind(&path).unwrap();
        std::fs::rename(&path, directory.0.join("elsewhere")).unwrap();
        let _successor = UnixListener::bind(&path).unwrap();
        drop(file);
        assert!(path.exists());
    }

    #[test]
    fn a_private_socket_is_private_from_its_first_moment() {
        let directory = Directory::new("private");
        let path = directory.0.join("hub.sock");
        let (watched, stop) = (path.clone(), std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false)));
        let stopped = stop.clone();
        let watcher = std::thread::spawn(move || {
            let mut modes = std::collections::BTreeSet::new();
            while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                modes.extend(watched.symlink_metadata().ok().map(|data| data.permissions().mode() & 0o777));
            }
            modes
        });
        for _ in 0..2000 {
            drop(bind_private(&path).unwrap());
            assert!(!path.exists());
        }
        let (listener, _file) = bind_private(&path).unwrap();
        assert_eq!(path.symlink_metadata().unwrap().permissions().mode() & 0o777, 0o600);
        std::os::unix::net::UnixStream::connect(&path).unwrap();
        assert!(listener.accept().is_ok() && bind_private(&path).is_err());
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let modes = watcher.join().unwrap();
        #[cfg(target_os = "linux")]
        assert!(modes.iter().all(|mode| *mode == 0o600), "{modes:?}");
    }
}
