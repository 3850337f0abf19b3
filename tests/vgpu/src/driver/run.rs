//! Running work, now or when a graph does, and the fault that a kernel leaves behind.

use super::context::{self, Context};
use super::error::{Answer, Code};
use super::event;
use super::function::Function;
use super::handles::lock;
use super::memory;
use super::report;
use super::stream::Stream;
use super::work::Work;
use crate::check::Kind;
use crate::gpu::{LaunchConfig, LaunchError, LaunchReport, Trap};

/// Runs work on a stream, or writes it down if the stream is being captured.
pub(super) fn submit(stream: &Stream, work: Work) -> Answer {
    let context = context::of(stream)?;
    match stream.take(work)? {
        Some(work) => run(&context, &work),
        None => Ok(()),
    }
}

/// Runs work now. A kernel's fault is no answer to the call that launched it: it stays in
/// the context and answers the next one.
pub(super) fn run(context: &Context, work: &Work) -> Answer {
    match work {
        Work::Launch { function, config, params } => launch(context, function, config, params),
        Work::Copy { to, from, bytes } => {
            let _executing = lock(&context.executing);
            memory::copy(context, *to, *from, *bytes)
        }
        Work::Fill { to, value, size, count } => {
            let _executing = lock(&context.executing);
            memory::fill(context, *to, *value, *size, *count)
        }
        Work::Host { function, argument } => {
            function.call(*argument);
            Ok(())
        }
        Work::Record(event) => {
            event::pass(*event);
            Ok(())
        }
        Work::Allocate { .. } | Work::Nothing => Ok(()),
    }
}

fn launch(context: &Context, function: &Function, config: &LaunchConfig, params: &[u8]) -> Answer {
    let outcome = {
        let _executing = lock(&context.executing);
        context.gpu.launch(&function.kernel, config, params)
    };
    let report = outcome.map_err(|error| match error {
        LaunchError::BadDimensions | LaunchError::SharedMemory | LaunchError::Parameters => Code::InvalidValue,
        LaunchError::Clusters => Code::NotSupported,
    })?;
    if let Some(code) = fault(&report) {
        context.set_fault(code);
    }
    report::add(function, config, report);
    Ok(())
}

/// The error that hardware would answer after this launch, if it would answer one.
fn fault(report: &LaunchReport) -> Option<Code> {
    let trapped = report.trap.map(|trap| match trap {
        Trap::Assert => Code::Assert,
        Trap::Timeout => Code::LaunchTimeout,
        Trap::Trap => Code::LaunchFailed,
    });
    let any = |kinds: &[Kind]| report.findings.iter().any(|f| kinds.contains(&f.kind));
    trapped.or_else(|| {
        use Kind::{GlobalOobRead, GlobalOobWrite, LocalOob, SharedOobRead, SharedOobWrite};
        let outside = [GlobalOobRead, GlobalOobWrite, Kind::UseAfterFree, SharedOobRead, SharedOobWrite, LocalOob];
        let stuck = any(&[Kind::BarrierDeadlock, Kind::AlignedDivergence]);
        let strict = !report.findings.is_empty() && report::is_strict();
        if any(&outside) {
            Some(Code::IllegalAddress)
        } else if any(&[Kind::Misaligned]) {
            Some(Code::MisalignedAddress)
        } else if stuck || strict {
            Some(Code::LaunchFailed)
        } else {
            None
        }
    })
}
