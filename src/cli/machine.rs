//! What a command runs on.

use super::useless;
use clap::Args;
use std::str::FromStr;
use tempest::backend::Device;
use tempest::backend::cuda::virtual_gpu;
use tempest::backend::cuda::{Gpu, Launching, Naming, Options, Rung};
use tempest::program::DType;
use tempest::{Error, Result, terminal};

/// Which device was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeviceChoice {
    /// The fastest GPU that can be used, or the CPU if there is none.
    Best,
    Cpu,
    /// The GPU of this number.
    Cuda(usize),
    /// The virtual GPU that lies beside this program.
    Virtual,
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':').map_or((text, None), |(kind, number)| (kind, Some(number))) {
            ("auto", None) => Ok(DeviceChoice::Best),
            ("cpu", None) => Ok(DeviceChoice::Cpu),
            ("vgpu", None) => Ok(DeviceChoice::Virtual),
            ("cuda", None) => Ok(DeviceChoice::Cuda(0)),
            ("cuda", Some(number)) => match number.parse() {
                Ok(number) => Ok(DeviceChoice::Cuda(number)),
                Err(_) => Err(format!("{number:?} is no number of a GPU; give cuda:0, cuda:1, …")),
            },
            _ => Err("wanted auto, cpu, cuda, cuda:N or vgpu".into()),
        }
    }
}

/// The device, how numbers are stored there, and the worker threads: one group of options for every command.
#[derive(Args, Debug)]
#[command(next_help_heading = "Machine")]
pub(crate) struct Machine {
    /// auto (the fastest there is), cpu, cuda, cuda:N, or vgpu (the tests' virtual GPU: slow, and checks every access)
    /// [default: what TEMPEST_DEVICE says, else auto]
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceChoice>,
    /// Wait for every kernel: slow, but an error on the GPU names its kernel and op
    #[arg(long)]
    sync: bool,
    /// Name programs and ops for NVIDIA's profilers (NVTX); ops only where kernels are given one by one, as with --sync
    #[arg(long)]
    nvtx: bool,
    /// Highest rung of GPU kernels that may run: plain (the specification, without tensor cores) or mma [default: mma]
    #[arg(long)]
    rung: Option<Rung>,
    /// Storage of activations and matmul inputs [default: f32 on a CPU, f16 on a GPU]
    #[arg(long, value_enum)]
    pub(crate) dtype: Option<DType>,
    /// Worker threads [default: all cores]; results do not depend on it
    #[arg(short = 'j', long, value_name = "N")]
    threads: Option<usize>,
}

/// Says which device is used where no option does; empty counts as unset.
const DEVICE_VARIABLE: &str = "TEMPEST_DEVICE";

impl Machine {
    /// Makes the worker threads and opens the device.
    pub(crate) fn open(&self) -> Result<Device> {
        self.open_or_cpu(terminal::detail)
    }

    /// The same for training, the one command that takes long enough for it to matter why no GPU is used.
    pub(crate) fn open_to_train(&self) -> Result<Device> {
        self.open_or_cpu(terminal::say)
    }

    fn open_or_cpu(&self, tell: impl FnOnce(String)) -> Result<Device> {
        self.open_or(|reason| {
            tell(format!("no GPU: {reason}; the CPU is used"));
            Ok(Device::Cpu)
        })
    }

    /// The same; where the best is asked for and there is no GPU, the virtual one if it is there.
    pub(crate) fn open_to_profile(&self) -> Result<Device> {
        self.open_or(|reason| {
            if virtual_gpu::library().is_none() {
                terminal::detail(format!("no GPU: {reason}; the CPU is timed"));
                return Ok(Device::Cpu);
            }
            terminal::say(format!("no GPU: {reason}; the virtual GPU counts instead (--device cpu times the CPU)"));
            self.virtual_gpu()
        })
    }

    /// `without` says, by the reason, what takes the place of a best GPU that is not there.
    fn open_or(&self, without: impl FnOnce(&str) -> Result<Device>) -> Result<Device> {
        set_threads(self.threads)?;
        let device = match self.choice()? {
            DeviceChoice::Best => match Gpu::best(self.options()) {
                Ok(gpu) => Device::Cuda(gpu),
                // The reason without the cure.
                Err(reason) => without(reason.to_string().split(';').next().unwrap_or_default())?,
            },
            DeviceChoice::Cpu => Device::Cpu,
            DeviceChoice::Cuda(number) => Device::Cuda(Gpu::open(number, self.options())?),
            DeviceChoice::Virtual => self.virtual_gpu()?,
        };
        self.check(device)
    }

    fn virtual_gpu(&self) -> Result<Device> {
        virtual_gpu::load().and_then(|()| Gpu::open(0, self.options())).map(Device::Cuda)
    }

    fn choice(&self) -> Result<DeviceChoice> {
        let set = std::env::var_os(DEVICE_VARIABLE).filter(|text| !text.is_empty());
        match (self.device, set) {
            (Some(choice), _) => Ok(choice),
            (None, Some(text)) => {
                let text = text.to_string_lossy();
                text.parse().map_err(|wanted| Error::input(format!("{DEVICE_VARIABLE} is {text:?}; {wanted}")))
            }
            (None, None) => Ok(DeviceChoice::Best),
        }
    }

    fn options(&self) -> Options {
        let launching = if self.sync { Launching::Synchronous } else { Launching::Graphs };
        let naming = if self.nvtx { Naming::Nvtx } else { Naming::None };
        Options { launching, naming, rung: self.rung.unwrap_or_default(), ..super::options() }
    }

    /// Refuses what the device does not know.
    fn check(&self, device: Device) -> Result<Device> {
        match device {
            Device::Cpu if self.sync => Err(useless("--sync", "waits for kernels of a GPU, and this runs on the CPU")),
            Device::Cpu if self.nvtx => Err(useless("--nvtx", "names programs on a GPU, and this runs on the CPU")),
            Device::Cpu if self.rung.is_some() => {
                Err(useless("--rung", "chooses among kernels of a GPU, and this runs on the CPU"))
            }
            device => Ok(device),
        }
    }

    /// How numbers are stored there: as was asked for, else as the device does it best.
    pub(crate) fn dtype(&self, device: &Device) -> DType {
        self.dtype.unwrap_or(device.preferred_dtype())
    }
}

/// Most worker threads: more than any machine has processors.
const MOST_THREADS: usize = 1024;

/// Makes the worker threads, once, before anything runs: here it can be said that there are none to be had.
fn set_threads(threads: Option<usize>) -> Result<()> {
    if let Some(n) = threads
        && !(1..=MOST_THREADS).contains(&n)
    {
        let wanted = "or leave it out for all cores";
        return Err(Error::input(format!("--threads is {n}; wanted at least 1 and at most {MOST_THREADS}, {wanted}")));
    }
    let builder = rayon::ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0));
    builder.build_global().map_err(|e| Error::input(format!("cannot start worker threads: {e}; try --threads 1")))
}
