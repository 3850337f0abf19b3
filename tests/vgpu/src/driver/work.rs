//! Units of work: what a stream runs, and what a graph is made of.

use super::abi::{HostFunction, HostMemory};
use super::function::Function;
use super::handles::Handle;
use crate::gpu::LaunchConfig;
use std::sync::Arc;

/// One end of a copy.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    Device(u64),
    Host(HostMemory),
}

/// A unit of work. It owns all it needs: a graph runs it long after the call that made it.
#[derive(Clone, Debug)]
pub(super) enum Work {
    Launch {
        function: Arc<Function>,
        config: LaunchConfig,
        params: Vec<u8>,
    },
    Copy {
        to: Place,
        from: Place,
        bytes: usize,
    },
    /// `count` elements of `size` bytes.
    Fill {
        to: u64,
        value: u32,
        size: u32,
        count: usize,
    },
    Host {
        function: HostFunction,
        argument: HostMemory,
    },
    /// Memory that a graph allocates: undefined again at each run.
    Allocate {
        address: u64,
    },
    /// An event passes, if it is still there.
    Record(Handle),
    Nothing,
}
