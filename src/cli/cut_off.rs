//! Owns the end of this process when a file that it has mapped becomes shorter, as when somebody writes a
//! model anew in place: the system then sends SIGBUS to whoever touches what is gone, in the middle of a
//! product.
//!
//! Says which file it was and ends with the exit code of an error. Refuses to go on: what would be read there
//! is nobody's number. Only what signal-safety(7) allows is done on the way: no memory is allocated, no lock
//! taken.

use std::sync::atomic::{AtomicBool, Ordering};

/// From now on such an end is an error message.
pub(super) fn prepare() {
    // SAFETY: the handler is of the type that SA_SIGINFO asks for and does only what a signal handler may do;
    // the action is initialised as a whole (all zeros is an empty mask and no flags).
    #[cfg(target_os = "linux")]
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handle as *const () as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO;
        // Where the system refuses, the process ends by the signal, as before.
        libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut());
    }
}

/// Whether a thread is about to tell.
static TOLD: AtomicBool = AtomicBool::new(false);

/// sigaction(2): BUS_ADRERR, a page of a mapping that lies behind the end of its file, or cannot be read.
#[cfg(target_os = "linux")]
const NOTHING_THERE: libc::c_int = 2;

#[cfg(target_os = "linux")]
extern "C" fn handle(signal: libc::c_int, information: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the system hands over a valid siginfo_t; signal(2), raise(3), pause(2), write(2) and _exit(2)
    // may be called from a signal handler.
    unsafe {
        if (*information).si_code != NOTHING_THERE {
            // Sent by somebody, or a fault of the machine: what happens then without this handler.
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
            return;
        }
        // Several threads compute on the same file: one tells, the others wait for the end.
        while TOLD.swap(true, Ordering::Relaxed) {
            libc::pause();
        }
        let mut place = [0; PATH];
        let path = mapped_at((*information).si_addr().addr(), &mut place);
        let parts: [&[u8]; 4] = [
            b"\nerror: ",
            path.unwrap_or(b"a file that is in use"),
            b": the file became shorter, or could not be read, while it was in use\n",
            b"  help: run the command again; move a new file over one that is in use (mv) instead of writing into it\n",
        ];
        for part in parts {
            libc::write(libc::STDERR_FILENO, part.as_ptr().cast(), part.len());
        }
        libc::_exit(2);
    }
}

/// Bytes of a path that can be told, and of a line of /proc/self/maps in front of it.
const PATH: usize = 4096;

/// The path of the file that is mapped at an address.
#[cfg(target_os = "linux")]
fn mapped_at(address: usize, place: &mut [u8; PATH]) -> Option<&[u8]> {
    // SAFETY: the path is a C string; open(2), read(2) and close(2) may be called from a signal handler; no
    // more is read than fits.
    let maps = unsafe { libc::open(c"/proc/self/maps".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    if maps < 0 {
        return None;
    }
    let (mut line, mut length, mut piece) = ([0; 2 * PATH], 0, [0; 1024]);
    loop {
        // SAFETY: as above.
        let read = unsafe { libc::read(maps, piece.as_mut_ptr().cast(), piece.len()) };
        let Ok(read @ 1..) = usize::try_from(read) else { break };
        for &byte in &piece[..read] {
            if byte == b'\n' {
                if let Some(path) = path_of(&line[..length], address) {
                    let told = path.len().min(place.len());
                    place[..told].copy_from_slice(&path[..told]);
                    return Some(&place[..told]);
                }
                length = 0;
            } else if length < line.len() {
                line[length] = byte;
                length += 1;
            }
        }
    }
    None
}

/// The path at the end of a line `start-end rights offset device inode      path`, if the address lies in the
/// mapping.
fn path_of(line: &[u8], address: usize) -> Option<&[u8]> {
    let number = |digits: &[u8]| {
        digits.iter().try_fold(0_usize, |number, &digit| {
            let digit = char::from(digit).to_digit(16)?;
            number.checked_mul(16)?.checked_add(digit as usize)
        })
    };
    let end_of_range = line.iter().position(|&byte| byte == b' ')?;
    let dash = line[..end_of_range].iter().position(|&byte| byte == b'-')?;
    let range = number(&line[..dash])?..number(&line[dash + 1..end_of_range])?;
    let path = line.iter().position(|&byte| byte == b'/')?;
    range.contains(&address).then(|| &line[path..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_is_found_by_its_address() {
        let line = b"7f1c2000-7f1c4000 rw-p 00001000 fd:00 1234                       /data/my models/x.frost (deleted)";
        assert_eq!(path_of(line, 0x7f1c_2000), Some(&b"/data/my models/x.frost (deleted)"[..]));
        assert_eq!(path_of(line, 0x7f1c_3fff), Some(&line[line.len() - 33..]));
        for outside in [0x7f1c_1fff, 0x7f1c_4000, 0, usize::MAX] {
            assert_eq!(path_of(line, outside), None);
        }
        for other in ["7f1c2000-7f1c4000 rw-p 00000000 00:00 0 ", "", "-", "x-y rw-p /a", "7f1c2000 /a"] {
            assert_eq!(path_of(other.as_bytes(), 0x7f1c_2000), None, "{other}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_file_that_this_process_has_mapped_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap().join("mapped");
        std::fs::write(&path, [7; 100]).unwrap();
        let file = std::fs::File::open(&path).unwrap();
        // SAFETY: nobody writes to the file while it is mapped.
        let map = unsafe { memmap2::Mmap::map(&file) }.unwrap();
        let mut place = [0; PATH];
        assert_eq!(mapped_at(map.as_ptr().addr() + 50, &mut place), Some(path.to_str().unwrap().as_bytes()));
        assert_eq!(mapped_at(1, &mut place), None);
    }
}
