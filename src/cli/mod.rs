//! The commands: arguments as typed, checked once, handed to the library.

pub(crate) mod bench_fill;
pub(crate) mod bench_repair;
pub(crate) mod check;
pub(crate) mod compare;
pub(crate) mod devices;
mod diff;
pub(crate) mod eval;
pub(crate) mod export;
pub(crate) mod fill;
mod given;
pub(crate) mod help;
mod hybrid;
pub(crate) mod import;
pub(crate) mod judge;
pub(crate) mod machine;
pub(crate) mod manual;
pub(crate) mod model;
pub(crate) mod numbers;
mod place;
pub(crate) mod plot;
pub(crate) mod profile;
pub(crate) mod recipe;
pub(crate) mod repair;
pub(crate) mod replay;
pub(crate) mod report;
pub(crate) mod rewrite;
pub(crate) mod runs;
pub(crate) mod sample;
#[cfg(feature = "serve")]
pub(crate) mod serve;
mod table;
pub(crate) mod text;
pub(crate) mod texts;
pub(crate) mod train;
pub(crate) mod voice;
mod watch;

use std::io::Write;
use std::sync::Arc;
use tempest::backend::cuda::Options;
use tempest::backend::cuda::virtual_gpu::{Counters, Counts};
use tempest::backend::{Backend, Cpu, Device};
use tempest::program::Plan;
use tempest::{Error, Result, terminal};

/// What every command opens a GPU with.
pub(crate) fn options() -> Options {
    Options { notice: Some(|text| terminal::say(text)), ..Options::default() }
}

/// A device in a line, and whether it is what it says.
pub(crate) fn describe(device: &Device) -> String {
    match device {
        Device::Cpu => Cpu::new(Arc::new(Plan::new())).describe(),
        Device::Cuda(gpu) if Counters::of_driver().is_some() => format!("a virtual GPU plays {}", gpu.describe()),
        Device::Cuda(gpu) => gpu.describe(),
    }
}

/// An error where the virtual GPU found one in these launches.
pub(crate) fn faultless<'a>(launches: impl IntoIterator<Item = &'a Counts>) -> Result<()> {
    match launches.into_iter().map(|launch| launch.findings).sum::<u64>() {
        0 => Ok(()),
        faults => Err(Error::Device(format!("the virtual GPU found {faults} faults in these kernels, told above"))),
    }
}

/// An option that would do nothing: what it needs, which is not so.
pub(crate) fn useless(option: &str, why: &str) -> Error {
    Error::input(format!("{option} {why}; leave it out"))
}

/// Refuses the first of some options that was said; `why` is that of all.
pub(crate) fn refuse_said(options: &[(&str, bool)], why: &str) -> Result<()> {
    let said = options.iter().find(|(_, said)| *said);
    said.map_or(Ok(()), |(option, _)| Err(useless(option, why)))
}

/// Prints a result. A reader that has seen enough (`| head`) is no fault.
pub(crate) fn print(text: &str) -> Result<()> {
    print_to_reader(text).map(|_| ())
}

/// Whether anybody reads what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    There,
    Gone,
}

/// Prints a result, and tells whether more of it is wanted.
pub(crate) fn print_to_reader(text: &str) -> Result<Reader> {
    print_bytes(text.as_bytes())
}

/// The same of what is no text.
fn print_bytes(bytes: &[u8]) -> Result<Reader> {
    let written = terminal::aside(|| {
        let mut out = std::io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush())
    });
    match written {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        result => result.map(|()| Reader::There).map_err(Error::io("write", "standard output")),
    }
}
