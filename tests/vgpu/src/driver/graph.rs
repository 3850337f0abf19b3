//! Graphs: captured work, instantiated and run again and again.
//!
//! The order of capture is one of the orders that the graph's edges allow, so a graph is
//! a list. Kernel arguments were copied at capture; memory on the host is read and
//! written when the graph runs.

use super::abi::{Array, Out, exports};
use super::context;
use super::error::{Answer, Code};
use super::handles::{self, Handle};
use super::memory;
use super::run;
use super::work::Work;
use std::sync::Arc;

/// `CUgraphInstantiate_flags`.
const AUTO_FREE_ON_LAUNCH: u64 = 1;
const DEVICE_LAUNCH: u64 = 4;
const ALL_FLAGS: u64 = 15;

/// A graph.
#[derive(Debug)]
pub(super) struct Graph {
    pub(super) handle: Handle,
    context: Handle,
    nodes: Arc<Nodes>,
}

/// The work of a graph. Memory it allocates goes when its last user does.
#[derive(Debug)]
struct Nodes {
    context: Handle,
    work: Vec<Work>,
}

impl Drop for Nodes {
    fn drop(&mut self) {
        let Ok(context) = context::find(self.context) else {
            return;
        };
        for work in &self.work {
            if let Work::Allocate { address } = work {
                let _ = memory::free(&context, *address);
            }
        }
    }
}

/// A graph ready to run.
#[derive(Debug)]
struct Executable {
    handle: Handle,
    nodes: Arc<Nodes>,
}

/// A kernel of this module that a graph which is still there would launch.
pub(super) fn kernel_in_use(module: Handle) -> Option<String> {
    let graphs = handles::all::<Graph>().into_iter().map(|graph| graph.nodes.clone());
    let ready = handles::all::<Executable>().into_iter().map(|executable| executable.nodes.clone());
    graphs.chain(ready).find_map(|nodes| {
        nodes.work.iter().find_map(|work| match work {
            Work::Launch { function, .. } if function.module == module => Some(function.kernel.name.clone()),
            _ => None,
        })
    })
}

impl Graph {
    pub(super) fn create(context: Handle, work: Vec<Work>) -> Arc<Graph> {
        handles::insert(|handle| Arc::new(Graph { handle, context, nodes: Arc::new(Nodes { context, work }) }))
    }
}

fn instantiate(out: Out<Handle>, graph: Handle, flags: u64) -> Answer {
    context::current()?;
    let graph = handles::get::<Graph>(graph)?;
    if out.is_null() || flags & !ALL_FLAGS != 0 {
        return Err(Code::InvalidValue);
    }
    if flags & DEVICE_LAUNCH != 0 {
        let both = flags & AUTO_FREE_ON_LAUNCH != 0;
        return Err(if both { Code::InvalidValue } else { Code::NotSupported });
    }
    let executable = handles::insert(|handle| Arc::new(Executable { handle, nodes: graph.nodes.clone() }));
    out.set(executable.handle)
}

fn launch(executable: Handle, stream: Handle) -> Answer {
    let stream = context::stream(stream)?;
    let executable = handles::get::<Executable>(executable)?;
    let context = context::of(&stream)?;
    for node in &executable.nodes.work {
        match stream.take(node.clone())? {
            Some(node) => run::run(&context, &node)?,
            None => continue, // a graph launched in a capture becomes part of it
        }
        if context.check().is_err() {
            break; // the rest does not run after a fault; the next call answers it
        }
    }
    Ok(())
}

exports! {
    /// An empty graph.
    fn cuGraphCreate(graph: Out<Handle>, flags: u32) {
        let context = context::current()?;
        if flags != 0 || graph.is_null() {
            return Err(Code::InvalidValue);
        }
        graph.set(Graph::create(context.handle, Vec::new()).handle)
    }

    /// A copy of a graph.
    fn cuGraphClone(copy: Out<Handle>, graph: Handle) {
        context::current()?;
        let graph = handles::get::<Graph>(graph)?;
        let made = handles::insert(|handle| Arc::new(Graph {
            handle,
            context: graph.context,
            nodes: graph.nodes.clone(),
        }));
        copy.set(made.handle)
    }

    /// How many nodes a graph has. The nodes themselves have no handles here.
    fn cuGraphGetNodes(graph: Handle, nodes: Out<Handle>, count: Out<usize>) {
        let graph = handles::get::<Graph>(graph)?;
        if !nodes.is_null() {
            return Err(Code::NotSupported);
        }
        count.set(graph.nodes.work.len())
    }

    /// Makes a graph ready to run.
    fn cuGraphInstantiateWithFlags(executable: Out<Handle>, graph: Handle, flags: u64) {
        instantiate(executable, graph, flags)
    }

    /// Makes a graph ready to run; the log stays empty.
    fn cuGraphInstantiate_v2(executable: Out<Handle>, graph: Handle, _node: Out<Handle>, _log: Array<u8>, _room: usize) {
        instantiate(executable, graph, 0)
    }

    /// Runs a graph on a stream.
    fn cuGraphLaunch(executable: Handle, stream: Handle) {
        launch(executable, stream)
    }

    /// Prepares the first run; there is nothing to prepare.
    fn cuGraphUpload(executable: Handle, stream: Handle) {
        context::stream(stream)?;
        handles::get::<Executable>(executable)?;
        Ok(())
    }

    /// Destroys a graph that was made ready.
    fn cuGraphExecDestroy(executable: Handle) {
        handles::remove::<Executable>(executable)?;
        Ok(())
    }

    /// Destroys a graph.
    fn cuGraphDestroy(graph: Handle) {
        handles::remove::<Graph>(graph)?;
        Ok(())
    }
}
