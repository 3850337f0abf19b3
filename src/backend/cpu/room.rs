//! How much memory is free for this process: of the machine, of the groups of processes that it belongs to, and of its own
//! limit on addresses. Linux says all of it in files; elsewhere nothing is known.

use std::fs;
use std::path::Path;

/// Bytes that this process may still take; none where that is not known.
pub(super) fn free_bytes() -> Option<usize> {
    let read = |path: &Path| fs::read_to_string(path).ok();
    let proc = |file: &str| read(&Path::new("/proc").join(file)).unwrap_or_default();
    let machine = kilobytes(&proc("meminfo"), "MemAvailable:");
    let addresses = limit(&proc("self/limits"), "Max address space")
        .map(|limit| limit.saturating_sub(kilobytes(&proc("self/status"), "VmSize:").unwrap_or(0)));
    [machine, addresses, of_groups(&proc("self/cgroup"), &read)].into_iter().flatten().min()
}

/// The number behind a name, in bytes: `MemAvailable:   21999 kB`.
fn kilobytes(text: &str, name: &str) -> Option<usize> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<usize>().ok()?.checked_mul(1024)
}

/// The soft limit in `/proc/self/limits`; none where there is no limit.
fn limit(text: &str, name: &str) -> Option<usize> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// What the control groups of `/proc/self/cgroup` leave, the tightest of each group and those above it.
fn of_groups(cgroup: &str, read: &dyn Fn(&Path) -> Option<String>) -> Option<usize> {
    let mut least = None;
    for line in cgroup.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        // Version 2 has one hierarchy and names no controller; version 1 has one of its own for memory.
        let (root, most, used, cache) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file "),
            c if c.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file ")
            }
            _ => continue,
        };
        for group in Path::new(path.trim_start_matches('/')).ancestors() {
            let file = |name: &str| read(&Path::new(root).join(group).join(name));
            let number = |name: &str| file(name)?.trim().parse::<usize>().ok();
            if let (Some(most), Some(used)) = (number(most), number(used)) {
                let stat = file("memory.stat").unwrap_or_default();
                let cached = stat.lines().find_map(|line| line.strip_prefix(cache)?.trim().parse::<usize>().ok());
                let left = most.saturating_sub(used.saturating_sub(cached.unwrap_or(0)));
                least = Some(least.map_or(left, |least: usize| least.min(left)));
            }
        }
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_memory_is_read_from_what_linux_writes() {
        let meminfo = "MemTotal:       24000000 kB\nMemFree:  5 kB\nMemAvailable:   21000000 kB\n";
        assert_eq!(kilobytes(meminfo, "MemAvailable:"), Some(21_504_000_000));
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max address space         2000000000           unlimited            bytes     \n\
                      Max file size             unlimited            unlimited            bytes     \n";
        assert_eq!(limit(limits, "Max address space"), Some(2_000_000_000));
        assert_eq!(limit(limits, "Max file size"), None);
    }

    #[test]
    fn the_tightest_group_counts_and_what_it_caches_does_not() {
        let files = [
            ("/sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("/sys/fs/cgroup/a/b/memory.current", "10\n"),
            ("/sys/fs/cgroup/a/memory.max", "1000\n"),
            ("/sys/fs/cgroup/a/memory.current", "600\n"),
            ("/sys/fs/cgroup/a/memory.stat", "anon 400\ninactive_file 200\n"),
            ("/sys/fs/cgroup/memory/c/memory.limit_in_bytes", "500\n"),
            ("/sys/fs/cgroup/memory/c/memory.usage_in_bytes", "100\n"),
        ];
        let read =
            |path: &Path| files.iter().find(|(name, _)| Path::new(name) == path).map(|(_, text)| (*text).to_owned());
        assert_eq!(of_groups("0::/a/b\n", &read), Some(600));
        assert_eq!(of_groups("4:cpu,memory:/c\n2:pids:/a\n", &read), Some(400));
        assert_eq!(of_groups("0::/elsewhere\n", &read), None);
    }
}
