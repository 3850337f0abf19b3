//! The device: found or not, its kernels loaded once per stored dtype, its corpora.

use super::Cuda;
use super::call::{BUILD_NOTES, BUILT_WITH, FAMILIES, Family, IMAGES, Image, KERNELS, Launch, Packed};
use super::lower::{Rung, Target};
use super::virtual_gpu::Counters;
use crate::data::{Corpus, Tokens};
use crate::error::{Error, Result};
use crate::program::{DType, Plan};
use crate::raw::gpu::nvtx::{self, Nvtx};
use crate::raw::gpu::{self, Absence, Carveout, Context, Fault, Function, Memory, Module, Properties};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, Once, OnceLock, PoisonError, Weak};

/// Names a CUDA driver library to use instead of the system's, for example the virtual GPU's.
pub const DRIVER_VARIABLE: &str = "TEMPEST_CUDA_DRIVER";

/// How kernels are given to the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Launching {
    /// Whole programs as CUDA graphs, without waiting.
    #[default]
    Graphs,
    /// One by one, waiting for each: slow, but an error names its kernel and op.
    Synchronous,
}

/// Whether programs and ops have names in NVIDIA's profilers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Naming {
    /// No names.
    #[default]
    None,
    /// NVTX ranges: one around each run of a program, and one around the launches of each op where they are given one by
    /// one (a graph is one call, whatever is in it).
    Nvtx,
}

/// What a [`Gpu`] is opened with.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How kernels are given to the device.
    pub launching: Launching,
    /// PTX to load instead of what was built in, by family (`linear`): for trying a changed kernel.
    pub replaced: BTreeMap<String, String>,
    /// Whether programs and ops are named for NVIDIA's profilers.
    pub naming: Naming,
    /// Which kernels take memory from the L1 cache.
    pub carveout: Carveout,
    /// The highest rung of kernels that may run.
    pub rung: Rung,
    /// Told what takes long, before it does.
    pub notice: Option<fn(&str)>,
}

/// An NVIDIA GPU, or what plays one.
#[derive(Debug)]
pub struct Gpu {
    ordinal: usize,
    context: Context,
    properties: Properties,
    driver: i32,
    options: Options,
    nvtx: Option<Nvtx>,
    code: [OnceLock<Arc<Code>>; 2],
    compiling: Once,
    corpora: Mutex<Vec<(Weak<Corpus>, Weak<Tokenized>)>>,
}

/// A corpus on the device.
#[derive(Debug)]
pub(super) struct Tokenized {
    pub(super) memory: Memory,
    /// One byte a token, or two.
    pub(super) wide: bool,
}

/// The kernels for one stored dtype; a family is loaded when an op first wants one of it.
#[derive(Debug)]
pub(super) struct Code {
    /// Place in [`IMAGES`].
    dtype: usize,
    /// By place in [`FAMILIES`]: its kernels, in its order.
    families: Vec<OnceLock<Vec<Function>>>,
    /// Where the first family came from: `sm_80 machine code`, `PTX 7.4`.
    from: OnceLock<String>,
    /// Whether the driver has refused machine code that the card runs: it is older, and compiles the PTX.
    refuses: AtomicBool,
}

/// Why there is no GPU to run on, in words.
fn no_gpu(absence: &Absence) -> Error {
    Error::input(match absence {
        Absence::NoDriver => {
            "no CUDA driver on this machine (libcuda was not found); install NVIDIA's driver, or use --device cpu"
                .into()
        }
        Absence::NotLoaded(why) => {
            format!("{DRIVER_VARIABLE}: cannot load that CUDA driver: {why}; name a library, or unset it")
        }
        Absence::Refused(fault) if fault.is_stub() => format!(
            "libcuda.so is the stub of a CUDA toolkit, which only linkers can use; take the folder stubs out of \
             LD_LIBRARY_PATH, or let {DRIVER_VARIABLE} name the driver's own, such as \
             /usr/lib/x86_64-linux-gnu/libcuda.so.1"
        ),
        Absence::Refused(fault) => {
            format!("the CUDA driver does not start: {fault}; see what nvidia-smi says, or use --device cpu")
        }
        Absence::Lacks(function) => format!(
            "the library that is found as the CUDA driver lacks {function}: it is none, or one from before CUDA 11; install \
             NVIDIA's driver, or use --device cpu"
        ),
        Absence::NoDevice => "the CUDA driver finds no NVIDIA GPU; use --device cpu".into(),
    })
}

/// Number of GPUs and the driver's version. Once they are found they stay; while there are none it is asked again.
fn probe() -> Result<(usize, i32)> {
    static FOUND: OnceLock<(usize, i32)> = OnceLock::new();
    if let Some(found) = FOUND.get() {
        return Ok(*found);
    }
    if let Some(path) = std::env::var_os(DRIVER_VARIABLE).filter(|path| !path.is_empty()) {
        gpu::preload(path.as_ref()).map_err(|absence| no_gpu(&absence))?;
    }
    let found = gpu::probe().map_err(|absence| no_gpu(&absence))?;
    Ok(*FOUND.get_or_init(|| found))
}

/// Makes a library the CUDA driver of this process, which must not have found one yet.
pub(super) fn use_driver(path: &Path) -> Result<()> {
    gpu::preload(path).map_err(|absence| match absence {
        Absence::NotLoaded(why) => Error::input(format!("cannot load that CUDA driver: {why}")),
        other => no_gpu(&other),
    })
}

/// Number of GPUs.
pub fn count() -> Result<usize> {
    Ok(probe()?.0)
}

/// The newest CUDA that the driver knows: `12.8`.
pub fn driver_version() -> Result<String> {
    Ok(version_text(probe()?.1))
}

fn version_text(version: i32) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

/// What the kernels were compiled with, and what the build did otherwise than usual; an error without any.
pub fn built_with() -> Result<(&'static str, &'static [&'static str])> {
    BUILT_WITH.map(|compiler| (compiler, BUILD_NOTES)).ok_or_else(|| {
        Error::input(
            "this build has no CUDA kernels: there was no nvcc when it was compiled; run ./setup-cuda, build again, or use \
             --device cpu",
        )
    })
}

/// GPUs that this build has machine code for, by compute capability; all others from 8.0 on compile the PTX.
pub fn machine_code() -> impl Iterator<Item = u32> {
    let whole = FAMILIES.iter().position(|family| family.target.is_none());
    whole.map_or(&[][..], |family| IMAGES[0][family].cubins).iter().map(|(sm, _)| *sm)
}

impl Gpu {
    /// Opens GPU number `ordinal`.
    pub fn open(ordinal: usize, options: Options) -> Result<Arc<Self>> {
        let gpu = Gpu::inspect(ordinal, options)?;
        gpu.check()?;
        Ok(Arc::new(gpu))
    }

    /// Opens the fastest GPU that can be used, by its clocks; the first of equal ones.
    pub fn best(options: Options) -> Result<Arc<Self>> {
        let (count, _) = probe()?;
        if count < 2 {
            return Gpu::open(0, options);
        }
        let (mut found, mut reasons) = (Vec::new(), Vec::new());
        for ordinal in 0..count {
            match Gpu::inspect(ordinal, options.clone()).and_then(|gpu| gpu.check().map(|()| gpu)) {
                Ok(gpu) => found.push(gpu),
                Err(reason) => reasons.push(reason),
            }
        }
        let speed = |gpu: &Gpu| gpu.tensor_tflops().unwrap_or(0.0);
        found.sort_by(|a, b| speed(b).total_cmp(&speed(a)));
        for gpu in found {
            match gpu.image(DType::F16) {
                Ok(_) => return Ok(Arc::new(gpu)),
                Err(reason) => reasons.push(reason),
            }
        }
        Err(reasons.swap_remove(0))
    }

    /// Number of the device, as the driver counts.
    pub fn ordinal(&self) -> usize {
        self.ordinal
    }

    /// Opens a GPU to look at, whether or not there are kernels for it.
    pub fn inspect(ordinal: usize, options: Options) -> Result<Self> {
        let (count, driver) = probe()?;
        if ordinal >= count {
            let there = if count == 1 {
                "there is one GPU, cuda:0".into()
            } else {
                format!("there are {count} GPUs, numbered from 0")
            };
            return Err(Error::input(format!("--device cuda:{ordinal}: {there}; see tempest devices")));
        }
        let nvtx = match options.naming {
            Naming::None => None,
            Naming::Nvtx => Some(Nvtx::open().map_err(|why| {
                Error::input(format!(
                    "--nvtx names programs and ops for a profiler, but {why}; run it under nsys profile --trace=cuda,nvtx or \
                     ncu --nvtx, or leave --nvtx out"
                ))
            })?),
        };
        let context = Context::open(ordinal).map_err(device_fault("open the GPU"))?;
        let properties = context.properties().map_err(device_fault("ask the GPU what it is"))?;
        let (code, compiling, corpora) = (Default::default(), Once::new(), Mutex::default());
        Ok(Gpu { ordinal, context, properties, driver, options, nvtx, code, compiling, corpora })
    }

    /// Refuses a GPU for which there are no kernels.
    pub fn check(&self) -> Result<()> {
        built_with()?;
        let Properties { name, sm, .. } = &self.properties;
        if *sm < 80 {
            return Err(Error::input(format!(
                "{name} has compute capability {}.{}; the kernels need 8.0 (Ampere) or newer; use --device cpu",
                sm / 10,
                sm % 10
            )));
        }
        Ok(())
    }

    /// Allocates a plan's memory.
    pub fn open_plan(self: &Arc<Self>, plan: Arc<Plan>) -> Result<Cuda> {
        Cuda::new(Arc::clone(self), plan)
    }

    /// One line for people: `cuda:0, NVIDIA A100-SXM4-80GB, sm_80, driver 13.0`.
    pub fn describe(&self) -> String {
        let Properties { name, sm, .. } = &self.properties;
        format!("cuda:{}, {name}, sm_{sm}, driver {}", self.ordinal, version_text(self.driver))
    }

    /// As its maker calls it.
    pub fn name(&self) -> &str {
        &self.properties.name
    }

    /// Compute capability: 80, 89, 90.
    pub fn sm(&self) -> u32 {
        self.properties.sm
    }

    /// The newest CUDA that its driver knows: `12.8`.
    pub fn driver(&self) -> String {
        version_text(self.driver)
    }

    /// Number of streaming multiprocessors.
    pub fn multiprocessors(&self) -> u32 {
        self.properties.multiprocessors
    }

    /// Whether the tests' virtual GPU plays it: then events say nothing of a card's times.
    pub fn is_virtual(&self) -> bool {
        Counters::of_driver().is_some()
    }

    /// Second-level cache in bytes.
    pub fn l2_bytes(&self) -> usize {
        self.properties.l2_bytes
    }

    /// 10⁹ bytes a second between memory and chip, by clock and width of the bus; none where the driver tells no clock, as
    /// some do since CUDA 13.
    pub fn bandwidth_gb(&self) -> Option<f64> {
        Some(self.properties.bandwidth_gb).filter(|&gb| gb > 0.0)
    }

    /// 10¹² half-precision multiplications and additions a second of the tensor cores with f32 sums, by the highest clock.
    pub fn tensor_tflops(&self) -> Option<f64> {
        let Properties { sm, name, multiprocessors, clock_ghz, .. } = &self.properties;
        let per_clock = multiply_adds(*sm, name) * f64::from(*multiprocessors);
        Some(2.0 * per_clock * clock_ghz / 1e3).filter(|&tflops| tflops > 0.0)
    }

    /// Free bytes of device memory.
    pub fn free_bytes(&self) -> Result<usize> {
        self.context.free_bytes().map_err(device_fault("ask for the free memory"))
    }

    /// Bytes of device memory.
    pub fn memory_bytes(&self) -> usize {
        self.properties.memory_bytes
    }

    /// Where the code for a dtype comes from: `sm_80 machine code`; or why none can be loaded.
    pub fn image(&self, dtype: DType) -> Result<String> {
        Ok(self.code(dtype)?.from.get().expect("its first family is loaded").clone())
    }

    /// What kernels are chosen for, of this code.
    pub(super) fn target(&self, code: &Code) -> Target {
        let may = |rung: &Rung| *rung <= self.options.rung && self.has(code, *rung);
        Target { rungs: Rung::ALL.into_iter().filter(may).collect() }
    }

    pub(super) fn launching(&self) -> Launching {
        self.options.launching
    }

    /// A range of this name in NVIDIA's profilers, until it is dropped; none where they were not asked for.
    pub(super) fn range(&self, name: &str) -> Option<nvtx::Range<'_>> {
        self.nvtx.as_ref().map(|nvtx| nvtx.range(name))
    }

    pub(super) fn context(&self) -> &Context {
        &self.context
    }

    /// The kernels for a stored dtype. Those that every program begins with are loaded when they are first asked for, the
    /// others by [`Gpu::make_ready`].
    pub(super) fn code(&self, dtype: DType) -> Result<Arc<Code>> {
        let place = usize::from(dtype == DType::Bf16);
        let slot = &self.code[place];
        if let Some(code) = slot.get() {
            return Ok(Arc::clone(code));
        }
        let code = Arc::new(Code {
            dtype: place,
            families: FAMILIES.iter().map(|_| OnceLock::new()).collect(),
            from: OnceLock::new(),
            refuses: AtomicBool::new(false),
        });
        let first = KERNELS.iter().filter(|kernel| super::ARGUMENT_KERNELS.contains(&kernel.name));
        first.map(|kernel| kernel.family).try_for_each(|family| self.load(&code, family))?;
        Ok(Arc::clone(slot.get_or_init(|| code)))
    }

    /// Loads what some launches want, before any of them may be recorded.
    pub(super) fn make_ready(&self, code: &Code, launches: &[Launch]) -> Result<()> {
        launches.iter().try_for_each(|launch| self.load(code, KERNELS[launch.call.kernel].family))
    }

    /// Loads a family, if it is not there yet.
    fn load(&self, code: &Code, place: usize) -> Result<()> {
        if code.families[place].get().is_some() {
            return Ok(());
        }
        let (family, image) = (&FAMILIES[place], &IMAGES[code.dtype][place]);
        let replaced = self.options.replaced.get(family.name).map(|text| [text.as_bytes(), b"\0"].concat());
        let cubin = self.machine_code_of(code, place);
        let (module, from) = match (replaced, cubin) {
            (Some(ptx), _) => (self.context.load(&ptx), "replaced PTX".to_owned()),
            (None, Some((sm, cubin))) => match self.context.load(&cubin.unpack()) {
                // An older driver does not read newer machine code; it compiles the PTX, which is kept old on purpose.
                Err((fault, _)) if fault.is_wrong_image() && family.target.is_none() => {
                    code.refuses.store(true, Relaxed);
                    self.compile(image)
                }
                loaded => (loaded, format!("sm_{sm} machine code")),
            },
            (None, None) => self.compile(image),
        };
        let module = module.map_err(|(fault, log)| {
            Error::Device(format!(
                "the driver does not load the kernels of {} from {from}: {fault}{}; a newer driver may",
                family.name,
                if log.is_empty() { String::new() } else { format!(": {log}") }
            ))
        })?;
        let function = |kernel: &usize| {
            let kernel = &KERNELS[*kernel];
            let function = module.function(kernel.name, kernel.shared_bytes, self.options.carveout);
            function.map_err(device_fault(&format!("prepare {}", kernel.name)))
        };
        let functions = family.kernels.iter().map(function).collect::<Result<Vec<_>>>()?;
        code.from.get_or_init(|| from);
        code.families[place].get_or_init(|| functions);
        Ok(())
    }

    /// The driver compiles a family's PTX.
    fn compile(&self, image: &Image) -> (Result<Arc<Module>, (Fault, String)>, String) {
        self.compiling.call_once(|| {
            let sm = self.properties.sm;
            let text = format!(
                "this driver takes no machine code of this build for sm_{sm} and compiles the kernels: up to a minute, until \
                 it keeps them"
            );
            self.options.notice.inspect(|say| say(&text));
        });
        // The driver takes the text up to a NUL.
        (self.context.load(&[&image.ptx.unpack()[..], b"\0"].concat()), "PTX 7.4".to_owned())
    }

    /// The machine code of a family that this card runs and its driver reads.
    fn machine_code_of(&self, code: &Code, family: usize) -> Option<(u32, Packed)> {
        let image = &IMAGES[code.dtype][family];
        fitting(&FAMILIES[family], image, self.properties.sm).filter(|_| !code.refuses.load(Relaxed))
    }

    /// Whether every kernel of a rung has code that this card runs.
    fn has(&self, code: &Code, rung: Rung) -> bool {
        let mut families = FAMILIES.iter().enumerate().filter(|(_, family)| rung.has(family.name));
        families.all(|(place, family)| family.target.is_none() || self.machine_code_of(code, place).is_some())
    }

    /// A corpus on the device: one copy, whoever asks.
    pub(super) fn tokenized(&self, corpus: &Arc<Corpus>) -> Result<Arc<Tokenized>> {
        let mut corpora: MutexGuard<'_, Vec<_>> = self.corpora.lock().unwrap_or_else(PoisonError::into_inner);
        corpora.retain(|(_, tokens)| tokens.strong_count() > 0);
        let known = corpora.iter().find(|(held, _)| std::ptr::eq(held.as_ptr(), Arc::as_ptr(corpus)));
        if let Some(tokens) = known.and_then(|(_, tokens)| tokens.upgrade()) {
            return Ok(tokens);
        }
        let (bytes, wide): (&[u8], bool) = match corpus.tokens() {
            Tokens::U8(ids) => (ids, false),
            Tokens::U16(ids) => (bytemuck::cast_slice(ids), true),
        };
        let memory = self.context.alloc(bytes.len()).map_err(|fault| self.no_room(fault, "the text", bytes.len()))?;
        // In pieces: a text may be larger than what is worth page-locking at once.
        for (i, piece) in bytes.chunks(1 << 28).enumerate() {
            self.context.write(&memory, i << 28, piece).map_err(device_fault("copy the text to the GPU"))?;
        }
        let tokens = Arc::new(Tokenized { memory, wide });
        corpora.push((Arc::downgrade(corpus), Arc::downgrade(&tokens)));
        Ok(tokens)
    }

    /// What to say when memory for something cannot be had.
    pub(super) fn no_room(&self, fault: Fault, what: &str, bytes: usize) -> Error {
        if !fault.is_out_of_memory() {
            return device_fault(&format!("allocate {what}"))(fault);
        }
        let mb = |bytes: usize| bytes as f64 / 1e6;
        Error::input(format!(
            "{what} needs {:.1} MB, {} has {:.1} of {:.1} MB free; lower --batch, or close what else uses the GPU",
            mb(bytes),
            self.properties.name,
            mb(self.free_bytes().unwrap_or(0)),
            mb(self.properties.memory_bytes)
        ))
    }
}

impl Code {
    /// Gives one launch to the stream.
    pub(super) fn launch(&self, context: &Context, launch: &Launch) -> Result<(), Fault> {
        let kernel = launch.call.kernel;
        context.launch(self.function(kernel), launch.grid, KERNELS[kernel].threads, &launch.call.params)
    }

    /// Registers of a thread and resident blocks of a multiprocessor, as the driver says.
    pub(super) fn occupancy(&self, kernel: usize) -> Result<(i32, i32), Fault> {
        self.function(kernel).occupancy(KERNELS[kernel].threads)
    }

    fn function(&self, kernel: usize) -> &Function {
        let family = KERNELS[kernel].family;
        let place = FAMILIES[family].kernels.iter().position(|&other| other == kernel);
        &self.families[family].get().expect("made ready")[place.expect("its family has it")]
    }
}

/// Half-precision multiply-adds with f32 sums that one multiprocessor finishes in a clock: NVIDIA's whitepapers. GeForce cards
/// do half of what professional cards with the same chip do.
fn multiply_adds(sm: u32, name: &str) -> f64 {
    match sm {
        80 | 87 => 1024.0,
        90 => 2048.0,
        100..=119 => 4096.0,
        _ if name.contains("GeForce") => 256.0,
        _ => 512.0,
    }
}

/// The newest machine code of a family that a card runs.
fn fitting(family: &Family, image: &Image, sm: u32) -> Option<(u32, Packed)> {
    let fits = |code: u32| runs_on(code, sm) && family.target.is_none_or(|target| target == sm);
    image.cubins.iter().copied().filter(|(code, _)| fits(*code)).max_by_key(|(code, _)| *code)
}

/// Machine code runs on its own generation, from its own revision on (CUDA programming guide, "Binary Compatibility").
fn runs_on(code: u32, device: u32) -> bool {
    code / 10 == device / 10 && code <= device
}

/// A fault of the driver while something was being done.
pub(super) fn device_fault(action: &str) -> impl FnOnce(Fault) -> Error {
    move |fault| Error::Device(format!("cannot {action}: {fault}"))
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        device_fault("record work for the GPU")(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(kernels)]
    #[test]
    fn every_image_is_carried_whole() {
        for (family, image) in IMAGES.iter().flat_map(|images| FAMILIES.iter().zip(images)) {
            let ptx = String::from_utf8(image.ptx.unpack()).unwrap();
            let has = |kernel: usize| ptx.contains(&format!(".entry {}(", KERNELS[kernel].name));
            assert!(
                ptx.contains("\n.version 7.4\n") && family.kernels.iter().all(|&kernel| has(kernel)),
                "{}",
                family.name
            );
            // Lines of the sources are for tests.
            assert_eq!(ptx.contains("\t.loc"), cfg!(debug_assertions));
            assert!(image.cubins.iter().all(|(_, code)| code.unpack().starts_with(b"\x7fELF")));
        }
    }

    #[test]
    fn an_image_for_one_target_is_taken_on_that_card_alone() {
        let family = |target| Family { name: "hopper_linear", kernels: &[], target };
        const NOTHING: Packed = Packed::EMPTY;
        static CUBINS: [(u32, Packed); 3] = [(80, NOTHING), (86, NOTHING), (90, NOTHING)];
        let taken =
            |target, cubins, sm| fitting(&family(target), &Image { ptx: NOTHING, cubins }, sm).map(|(code, _)| code);
        let every: Vec<_> = [80, 87, 89, 90, 100].map(|sm| taken(None, &CUBINS, sm)).into();
        assert_eq!(every, [Some(80), Some(86), Some(86), Some(90), None]);
        let one: Vec<_> = [89, 90, 91, 100].map(|sm| taken(Some(90), &CUBINS[2..], sm)).into();
        assert_eq!(one, [None, Some(90), None, None]);
    }

    /// Dense f16 with f32 sums at the boost clock, from the data sheets: within the rounding of their clocks.
    #[test]
    fn peaks_are_those_of_the_data_sheets() {
        for (sm, name, multiprocessors, ghz, tflops) in [
            (80, "NVIDIA A100-SXM4-80GB", 108, 1.41, 312.0),
            (86, "NVIDIA GeForce RTX 3090", 82, 1.695, 71.0),
            (86, "NVIDIA RTX A6000", 84, 1.80, 154.8),
            (86, "NVIDIA A10", 72, 1.695, 125.0),
            (89, "NVIDIA GeForce RTX 4090", 128, 2.52, 165.2),
            (89, "NVIDIA L40S", 142, 2.52, 366.0),
            (89, "NVIDIA L4", 58, 2.04, 121.0),
            (90, "NVIDIA H100 80GB HBM3", 132, 1.83, 989.4),
            (100, "NVIDIA B200", 148, 1.85, 2250.0),
            (120, "NVIDIA GeForce RTX 5090", 170, 2.407, 209.5),
        ] {
            let found = 2.0 * multiply_adds(sm, name) * f64::from(multiprocessors) * ghz / 1e3;
            assert!((found / tflops - 1.0).abs() < 0.01, "{name}: {found} TFLOP/s, its data sheet says {tflops}");
        }
    }
}
