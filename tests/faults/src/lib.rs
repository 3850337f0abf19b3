//! A library to be preloaded (`LD_PRELOAD`) into a program on Linux: it stands in front of the C library's calls that change
//! files, counts those under one folder, and lets one of them fail or kills the process there.
//!
//! | variable | meaning |
//! |---|---|
//! | `FAULTS_UNDER` | the folder whose files are meant, absolute |
//! | `FAULTS_LOG` | where each call is recorded: number, name, result, path, second path, by tabs, in the order of the calls |
//! | `FAULTS_AT` | the number of the call that goes wrong, from 0; none does without |
//! | `FAULTS_KIND` | `kill`: the process dies before the call. `torn`: it dies after, a write having written half. `io`: the call fails with EIO. `full`: the disk is full from this call on, a write still writes half |
//! | `FAULTS_NO_LOCKS` | if set, file locks fail with ENOSYS |
//!
//! The calls go to the kernel directly, so that this library never calls itself.

#![cfg(target_os = "linux")]

use libc::{AT_FDCWD, AT_REMOVEDIR, c_char, c_int, c_long, c_uint, c_void, off_t, size_t, ssize_t};
use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Kill,
    Torn,
    Io,
    Full,
}

struct Plan {
    under: Vec<u8>,
    log: Option<c_int>,
    at: Option<u64>,
    kind: Kind,
}

static PLAN: OnceLock<Option<Plan>> = OnceLock::new();
static CALLS: AtomicU64 = AtomicU64::new(0);

fn plan() -> Option<&'static Plan> {
    let read = || {
        let variable = |name| std::env::var_os(name).map(|value| value.as_bytes().to_vec());
        let number = |bytes: Vec<u8>| String::from_utf8(bytes).ok()?.parse().ok();
        let kind = match variable("FAULTS_KIND").as_deref() {
            Some(b"torn") => Kind::Torn,
            Some(b"io") => Kind::Io,
            Some(b"full") => Kind::Full,
            _ => Kind::Kill,
        };
        let log = variable("FAULTS_LOG").map(|path| {
            let path = CString::new(path).expect("a path");
            let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND | libc::O_CLOEXEC;
            // SAFETY: openat reads the path, which ends in a zero byte.
            unsafe { libc::syscall(libc::SYS_openat, AT_FDCWD, path.as_ptr(), flags, 0o666) as c_int }
        });
        Some(Plan { under: variable("FAULTS_UNDER")?, log, at: variable("FAULTS_AT").and_then(number), kind })
    };
    PLAN.get_or_init(read).as_ref()
}

/// One call that changes a file.
struct Call<'a> {
    name: &'static str,
    path: &'a [u8],
    other: &'a [u8],
    /// Whether it needs room on the disk.
    grows: bool,
}

/// Makes a call, or what the plan has instead. `half` is what a write does that is cut short.
fn make(call: Call<'_>, whole: &dyn Fn() -> c_long, half: Option<&dyn Fn() -> c_long>) -> c_long {
    let Some(plan) = plan().filter(|plan| within(call.path, &plan.under)) else { return whole() };
    let number = CALLS.fetch_add(1, Ordering::SeqCst);
    let told = |result: c_long| {
        record(plan, number, &call, result);
        result
    };
    let failed = |errno: c_int| {
        told(-1);
        // SAFETY: the address is that of this thread's own variable.
        unsafe { *libc::__errno_location() = errno };
        -1
    };
    match plan.at {
        Some(at) if number == at => match (plan.kind, half) {
            (Kind::Kill, _) => die(),
            (Kind::Torn, _) => {
                told(half.map_or_else(whole, |half| half()));
                die()
            }
            (Kind::Io, _) => failed(libc::EIO),
            (Kind::Full, Some(half)) => match half() {
                0 => failed(libc::ENOSPC),
                written => told(written),
            },
            (Kind::Full, None) if call.grows => failed(libc::ENOSPC),
            (Kind::Full, None) => told(whole()),
        },
        Some(at) if plan.kind == Kind::Full && number > at && call.grows => failed(libc::ENOSPC),
        _ => told(whole()),
    }
}

fn within(path: &[u8], under: &[u8]) -> bool {
    path.strip_prefix(under).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

fn die() -> ! {
    // SAFETY: takes no pointers; the signal cannot be caught.
    unsafe { libc::syscall(libc::SYS_kill, libc::getpid(), libc::SIGKILL) };
    unreachable!("a process outlives no SIGKILL")
}

fn record(plan: &Plan, number: u64, call: &Call<'_>, result: c_long) {
    let Some(log) = plan.log else { return };
    let (path, other) = (String::from_utf8_lossy(call.path), String::from_utf8_lossy(call.other));
    let line = format!("{number}\t{}\t{result}\t{path}\t{other}\n", call.name);
    // SAFETY: write reads as many bytes as the line has.
    unsafe { libc::syscall(libc::SYS_write, log, line.as_ptr(), line.len()) };
}

/// The bytes of a C string.
///
/// # Safety
///
/// It must end in a zero byte, as the C library's callers promise.
unsafe fn bytes<'a>(path: *const c_char) -> &'a [u8] {
    // SAFETY: as above.
    unsafe { CStr::from_ptr(path) }.to_bytes()
}

/// The path that a descriptor was opened by.
fn path_of(fd: c_int) -> Vec<u8> {
    let link = CString::new(format!("/proc/self/fd/{fd}")).expect("no zero byte");
    let mut path = vec![0_u8; 4096];
    // SAFETY: readlinkat reads the link's name and writes at most as many bytes as the buffer has.
    let length = unsafe { libc::syscall(libc::SYS_readlinkat, AT_FDCWD, link.as_ptr(), path.as_mut_ptr(), path.len()) };
    path.truncate(length.max(0) as usize);
    path
}

/// A call on a descriptor.
fn on_descriptor(name: &'static str, fd: c_int, whole: &dyn Fn() -> c_long) -> c_int {
    make(Call { name, path: &path_of(fd), other: b"", grows: false }, whole, None) as c_int
}

fn open(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    // SAFETY: the caller's path, as the C library's open demands.
    let whole = || unsafe { libc::syscall(libc::SYS_openat, AT_FDCWD, path, flags, mode) };
    if flags & (libc::O_CREAT | libc::O_TRUNC) == 0 {
        return whole() as c_int;
    }
    // SAFETY: the caller's path ends in a zero byte.
    make(Call { name: "create", path: unsafe { bytes(path) }, other: b"", grows: true }, &whole, None) as c_int
}

/// The C library's.
///
/// # Safety
///
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    open(path, flags | libc::O_LARGEFILE, mode)
}

/// The C library's.
///
/// # Safety
///
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(fd: c_int, data: *const c_void, count: size_t) -> ssize_t {
    // SAFETY: the caller's bytes, or the first half of them.
    let put = |count: size_t| unsafe { libc::syscall(libc::SYS_write, fd, data, count) };
    // Standard output and error are no files to be told apart here.
    if plan().is_none() || fd <= 2 {
        return put(count) as ssize_t;
    }
    let call = Call { name: "write", path: &path_of(fd), other: b"", grows: true };
    make(call, &|| put(count), Some(&|| put(count / 2))) as ssize_t
}

/// The C library's.
///
/// # Safety
///
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    // SAFETY: takes no pointers.
    on_descriptor("sync", fd, &|| unsafe { libc::syscall(libc::SYS_fsync, fd) })
}

/// The C library's.
///
/// # Safety
///
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    // SAFETY: takes no pointers.
    on_descriptor("sync", fd, &|| unsafe { libc::syscall(libc::SYS_fdatasync, fd) })
}

/// The C library's.
///
/// # Safety
///
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ftruncate64(fd: c_int, length: off_t) -> c_int {
    // SAFETY: takes no pointers.
    on_descriptor("truncate", fd, &|| unsafe { libc::syscall(libc::SYS_ftruncate, fd, length) })
}

/// The C library's.
///
/// # Safety
///
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flock(fd: c_int, operation: c_int) -> c_int {
    if std::env::var_os("FAULTS_NO_LOCKS").is_some() {
        // SAFETY: the address is that of this thread's own variable.
        unsafe { *libc::__errno_location() = libc::ENOSYS };
        return -1;
    }
    // SAFETY: takes no pointers.
    unsafe { libc::syscall(libc::SYS_flock, fd, operation) as c_int }
}

/// The C library's.
///
/// # Safety
///
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rename(old: *const c_char, new: *const c_char) -> c_int {
    // SAFETY: the caller's paths.
    let whole = || unsafe { libc::syscall(libc::SYS_renameat2, AT_FDCWD, old, AT_FDCWD, new, 0) };
    // SAFETY: the caller's paths end in a zero byte.
    let (path, other) = unsafe { (bytes(old), bytes(new)) };
    make(Call { name: "rename", path, other, grows: false }, &whole, None) as c_int
}

/// The C library's.
///
/// # Safety
///
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn linkat(
    old_folder: c_int,
    old: *const c_char,
    new_folder: c_int,
    new: *const c_char,
    flags: c_int,
) -> c_int {
    // SAFETY: the caller's paths.
    let whole = || unsafe { libc::syscall(libc::SYS_linkat, old_folder, old, new_folder, new, flags) };
    // SAFETY: the caller's paths end in a zero byte.
    let (path, other) = unsafe { (bytes(old), bytes(new)) };
    make(Call { name: "link", path, other, grows: true }, &whole, None) as c_int
}

/// The C library's.
///
/// # Safety
///
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    // SAFETY: the caller's path.
    let whole = || unsafe { libc::syscall(libc::SYS_unlinkat, AT_FDCWD, path, 0) };
    // SAFETY: the caller's path ends in a zero byte.
    make(Call { name: "remove", path: unsafe { bytes(path) }, other: b"", grows: false }, &whole, None) as c_int
}

/// The C library's.
///
/// # Safety
///
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmdir(path: *const c_char) -> c_int {
    // SAFETY: the caller's path.
    let whole = || unsafe { libc::syscall(libc::SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR) };
    // SAFETY: the caller's path ends in a zero byte.
    make(Call { name: "remove", path: unsafe { bytes(path) }, other: b"", grows: false }, &whole, None) as c_int
}

/// The C library's.
///
/// # Safety
///
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mkdir(path: *const c_char, mode: c_uint) -> c_int {
    // SAFETY: the caller's path.
    let whole = || unsafe { libc::syscall(libc::SYS_mkdirat, AT_FDCWD, path, mode) };
    // SAFETY: the caller's path ends in a zero byte.
    make(Call { name: "folder", path: unsafe { bytes(path) }, other: b"", grows: true }, &whole, None) as c_int
}
