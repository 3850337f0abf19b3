//! Runs the compiler over the kernel files, as many at once as cargo allows, and only where something changed.
//!
//! A result lies in one folder beside a `.key` file, the hash of all that it was made from. Results whose key is still
//! right are taken as they are; files that nobody asked for any more are deleted.

use crate::generate::packed;
use crate::source::{self, Sources};
use crate::toolkit::{self, Toolkit};
use crate::{DTYPES, ptx};
use miniz_oxide::deflate::compress_to_vec_zlib;
use std::collections::BTreeSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard};

/// Why there are no kernels.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The compiler cannot work on this machine.
    Unusable(String),
    /// It refuses the kernels.
    Refused { what: String, message: String },
}

/// All that a compilation needs.
pub(crate) struct Compiler<'a> {
    pub(crate) toolkit: &'a Toolkit,
    /// Where the sources lie.
    pub(crate) kernels: &'a Path,
    /// Where results go.
    pub(crate) out: &'a Path,
    /// `(name, text)` of every source.
    pub(crate) texts: &'a [(String, String)],
    pub(crate) threads: usize,
    /// Whether the PTX that the program carries names the lines of the sources.
    pub(crate) lines: bool,
}

/// Of zlib's levels the last before time grows without much to gain.
const LEVEL: u8 = 8;

impl Compiler<'_> {
    /// Compiles every file for every dtype. The lowered PTX, in the order of the files, dtypes inside, empty of files for
    /// cards that are not asked for; and what the compiler warned of.
    pub(crate) fn run(&self, sources: &Sources, archs: &[u32]) -> Result<(Vec<String>, Vec<String>), Failure> {
        let warnings = Mutex::new(Vec::new());
        let warn = |text: &str| {
            // Most of what it says of one dtype, it says of the other.
            let mut warnings: MutexGuard<Vec<String>> = warnings.lock().unwrap();
            if !text.is_empty() && !warnings.iter().any(|old| old == text) {
                warnings.push(text.to_owned());
            }
        };
        let jobs: Vec<_> = sources.files.iter().flat_map(|file| DTYPES.map(|dtype| (file, dtype))).collect();
        let texts = self.each(&jobs, |&(file, dtype)| match &file.target {
            Some(target) if !archs.contains(&target.sm) => Ok((format!("{}.{}", file.stem(), dtype.0), String::new())),
            _ => self.ptx(file, dtype, &warn),
        })?;
        let built = jobs.iter().zip(&texts).map(|((file, _), (stem, text))| (file.target.as_ref(), stem, text));
        let jobs: Vec<_> = built
            .clone()
            .flat_map(|(target, stem, text)| {
                source::archs(target, archs).map(move |arch| (stem, text, arch, target.map(|target| &target.name[..])))
            })
            .collect();
        self.each(&jobs, |&(stem, text, arch, name)| self.cubin(stem, text, arch, name, &warn))?;

        let cubins = jobs.iter().map(|(stem, _, arch, _)| format!("{stem}.sm{arch}.cubin"));
        let carried = built.clone().filter(|(target, ..)| target.is_none()).map(|(_, stem, _)| format!("{stem}.ptx"));
        let packs: Vec<String> = cubins.chain(carried).collect();
        self.each(&packs, |name| self.pack(name))?;
        let names = packs.iter().cloned().chain(built.map(|(_, stem, _)| format!("{stem}.ptx")));
        let files = names.flat_map(|name| [packed(&name), name]);
        self.delete_others(&files.flat_map(|name| [format!("{name}.key"), name]).collect());
        Ok((texts.into_iter().map(|(_, ptx)| ptx).collect(), warnings.into_inner().unwrap()))
    }

    /// `(linear.f16, its lowered PTX)`.
    fn ptx(&self, file: &source::File, dtype: (&str, &str), warn: &dyn Fn(&str)) -> Result<(String, String), Failure> {
        let (suffix, define) = dtype;
        let stem = format!("{}.{suffix}", file.stem());
        let result = self.out.join(format!("{stem}.ptx"));
        // What one generation alone has is in no PTX of old drivers, and none that others could take.
        let target = file.target.as_ref().map_or("80", |target| &target.name);
        let arch = format!("-arch=compute_{target}");
        let mut flags = vec!["--ptx", &arch, "-O3", "-std=c++17", "-lineinfo", define];
        flags.extend(file.flags.iter().map(String::as_str));
        let environment = toolkit::VARIABLES[6..].iter().map(|name| (name, std::env::var_os(name)));
        let key = hash((
            "ptx 1",
            &self.toolkit.version,
            &flags,
            environment.collect::<Vec<_>>(),
            source::closure(self.texts, &file.name),
        ));
        self.cached(&result, key, |out| {
            let mut command = Command::new(&self.toolkit.nvcc);
            command.args(&flags).arg("-I").arg(self.kernels).arg(self.kernels.join(&file.name)).arg("-o").arg(out);
            let message = run(&mut command)?;
            let message = message.map_err(|message| match toolkit::missing_host_compiler(&message) {
                Some(cure) => Failure::Unusable(cure.to_owned()),
                None => {
                    Failure::Refused { what: format!("kernels/{} does not compile as {suffix}:\n", file.name), message }
                }
            })?;
            warn(&message);
            let text = fs::read_to_string(out).map_err(|e| no_file(out, e))?;
            let version = if file.target.is_none() { ptx::Version::Shipped } else { ptx::Version::Kept };
            fs::write(out, ptx::lowered(&text, version)).map_err(|e| no_file(out, e))
        })?;
        let text = fs::read_to_string(&result).map_err(|e| no_file(&result, e))?;
        Ok((stem, text))
    }

    /// Machine code of one PTX text for one architecture.
    fn cubin(&self, stem: &str, text: &str, arch: u32, name: Option<&str>, warn: &dyn Fn(&str)) -> Result<(), Failure> {
        let name = name.map_or(arch.to_string(), str::to_owned);
        let target = self.out.join(format!("{stem}.sm{arch}.cubin"));
        let key = hash(("cubin 1", &self.toolkit.version, text, arch));
        self.cached(&target, key, |out| {
            let input = out.with_extension("ptx");
            fs::write(&input, ptx::without_lines(text)).map_err(|e| no_file(&input, e))?;
            let mut command = Command::new(&self.toolkit.ptxas);
            command.arg(format!("-arch=sm_{name}")).args(["-O3", "-warn-spills"]).arg(&input).arg("-o").arg(out);
            let message = run(&mut command)?;
            let what = format!("the PTX of {stem} does not assemble for sm_{arch}:\n");
            let warning = message.map_err(|message| Failure::Refused { what, message })?;
            // Launch bounds are those of an A100; where fewer threads fit, ptxas says so and goes on without them.
            let lines = warning.lines().filter(|line| !line.contains(".minnctapersm will be ignored"));
            lines.for_each(|line| warn(&format!("{stem} for sm_{arch}: {line}")));
            fs::remove_file(&input).map_err(|e| no_file(&input, e))
        })
    }

    /// An image as the program carries it: in a fourth of the room.
    fn pack(&self, name: &str) -> Result<(), Failure> {
        let path = self.out.join(name);
        let image = fs::read(&path).map_err(|e| no_file(&path, e))?;
        let key = hash(("packed 1", &image, self.lines));
        self.cached(&self.out.join(packed(name)), key, |out| {
            // The driver's compiler has no use for the lines of the sources, the virtual GPU names them.
            let image = match std::str::from_utf8(&image) {
                Ok(ptx) if name.ends_with(".ptx") && !self.lines => ptx::without_lines(ptx).into_bytes(),
                _ => image,
            };
            fs::write(out, compress_to_vec_zlib(&image, LEVEL)).map_err(|e| no_file(out, e))
        })
    }

    /// Runs `make` with a file to write, unless what it would write is there.
    fn cached(
        &self,
        target: &Path,
        key: String,
        make: impl FnOnce(&Path) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let key_file = PathBuf::from(format!("{}.key", target.display()));
        if target.exists() && fs::read_to_string(&key_file).is_ok_and(|old| old == key) {
            return Ok(());
        }
        // A result that is cut off must not look whole: the key comes last.
        let _ = fs::remove_file(&key_file);
        let unfinished = PathBuf::from(format!("{}.new", target.display()));
        make(&unfinished)?;
        fs::rename(&unfinished, target).map_err(|e| no_file(target, e))?;
        fs::write(&key_file, key).map_err(|e| no_file(&key_file, e))
    }

    fn delete_others(&self, kept: &BTreeSet<String>) {
        let entries = fs::read_dir(self.out).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| !entry.file_name().to_str().is_some_and(|name| kept.contains(name))) {
            let _ = fs::remove_file(entry.path());
        }
    }

    /// `f` of every item, several at once; every failure is told.
    fn each<T: Sync, U: Send>(
        &self,
        items: &[T],
        f: impl Fn(&T) -> Result<U, Failure> + Sync,
    ) -> Result<Vec<U>, Failure> {
        let next = AtomicUsize::new(0);
        let done = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..self.threads.clamp(1, items.len().max(1)) {
                scope.spawn(|| {
                    while let at = next.fetch_add(1, Relaxed)
                        && let Some(item) = items.get(at)
                    {
                        let result = f(item);
                        done.lock().unwrap().push((at, result));
                    }
                });
            }
        });
        let mut done = done.into_inner().unwrap();
        done.sort_by_key(|(at, _)| *at);
        let mut good = Vec::new();
        let mut refused: Vec<(String, String)> = Vec::new();
        for (_, result) in done {
            match result {
                Ok(result) => good.push(result),
                Err(Failure::Refused { what, message }) => match refused.iter_mut().find(|(_, old)| *old == message) {
                    Some((whats, _)) => whats.push_str(&what),
                    None => refused.push((what, message)),
                },
                Err(unusable) => return Err(unusable),
            }
        }
        let message: Vec<String> = refused.into_iter().map(|(what, message)| format!("{what}{message}")).collect();
        if message.is_empty() {
            Ok(good)
        } else {
            Err(Failure::Refused { what: String::new(), message: message.join("\n") })
        }
    }
}

/// Which of these architectures the assembler knows, and a note about each other.
pub(crate) fn known(toolkit: &Toolkit, asked: &[u32]) -> (Vec<u32>, Vec<String>) {
    let output = Command::new(&toolkit.nvcc).arg("--list-gpu-code").output();
    let list = output.ok().filter(|o| o.status.success()).map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
    let Some(list) = list else { return (asked.to_vec(), Vec::new()) };
    let listed: BTreeSet<&str> = list.split_whitespace().collect();
    let (known, unknown) =
        asked.iter().copied().partition::<Vec<u32>, _>(|arch| listed.contains(&*format!("sm_{arch}")));
    let note = |arch: u32| format!("sm_{arch} left out: {} does not know it", toolkit.version);
    (known, unknown.into_iter().map(note).collect())
}

/// What a tool printed; as `Err` if it failed.
fn run(command: &mut Command) -> Result<Result<String, String>, Failure> {
    let tool = Path::new(command.get_program()).display().to_string();
    let Output { status, stdout, stderr } =
        command.output().map_err(|e| Failure::Unusable(format!("{tool} does not run: {e}")))?;
    let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    let text = text.trim_end().to_owned();
    Ok(if status.success() { Ok(text) } else { Err(format!("{text}\n{tool}: {status}")) })
}

fn no_file(path: &Path, error: std::io::Error) -> Failure {
    Failure::Refused { what: format!("{}: ", path.display()), message: error.to_string() }
}

fn hash(all: impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    all.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}
