//! Modules, their functions and their variables.

use super::abi::{Array, CText, HostMemory, Out, exports};
use super::capture;
use super::context::{self, Context};
use super::device;
use super::error::{Answer, Code};
use super::function::Function;
use super::graph;
use super::handles::{self, Handle, lock};
use super::image;
use crate::gpu::{LoadError, Module as Loaded};
use std::collections::HashMap;
use std::ffi::CString;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

/// A loaded module.
#[derive(Debug)]
pub(super) struct Module {
    handle: Handle,
    context: Handle,
    loaded: Arc<Loaded>,
    functions: Mutex<HashMap<String, Handle>>,
}

impl Drop for Module {
    fn drop(&mut self) {
        if let Ok(context) = context::find(self.context) {
            context.gpu.unload(&self.loaded);
        }
    }
}

/// The newest PTX a driver takes, by the CUDA version it comes with.
fn newest_ptx(driver: i32) -> (u32, u32) {
    match driver {
        ..11_000 => (6, 5),
        11_000..12_000 => (7, ((driver - 11_000) / 10) as u32),
        12_000..12_060 => (8, ((driver - 12_000) / 10) as u32),
        12_060..12_070 => (8, 5), // 12.5 and 12.6 share PTX 8.5
        12_070..13_000 => (8, ((driver - 12_010) / 10) as u32),
        _ => (9, ((driver - 13_000) / 10) as u32),
    }
}

/// The value of a `.version` directive.
fn ptx_version(text: &str) -> Option<(u32, u32)> {
    let directive = text.lines().find_map(|line| line.trim().strip_prefix(".version"))?;
    let (major, minor) = directive.split_whitespace().next()?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn message_of(error: &LoadError) -> String {
    let place = match (&error.kernel, error.line) {
        (Some(kernel), line) => format!("line {line}, in {kernel}: "),
        (None, 0) => String::new(),
        (None, line) => format!("line {line}: "),
    };
    format!("{place}{}", error.message)
}

/// Loads PTX text; the second half of an error is what a log would say.
fn load_text(context: &Arc<Context>, text: &str) -> Result<Arc<Module>, (Code, String)> {
    let newest = newest_ptx(device::driver_version());
    if let Some(version) = ptx_version(text)
        && version > newest
    {
        let (a, b) = version;
        let message = format!("unsupported .version {a}.{b}; current version is '{}.{}'", newest.0, newest.1);
        return Err((Code::UnsupportedPtxVersion, message));
    }
    let loaded = context.gpu.load(text).map_err(|error| (Code::InvalidPtx, message_of(&error)))?;
    let sm = context.gpu.profile().sm();
    if let Some(kernel) = loaded.kernels().iter().find(|kernel| kernel.target > sm) {
        let message = format!("PTX for sm_{} does not run on sm_{sm}", kernel.target);
        context.gpu.unload(&loaded);
        return Err((Code::NoBinaryForGpu, message));
    }
    Ok(handles::insert(|handle| {
        Arc::new(Module { handle, context: context.handle, loaded, functions: Mutex::default() })
    }))
}

fn load(out: Out<Handle>, text: impl FnOnce(u32, &dyn Fn(&str)) -> Answer<String>, log: Option<Log>) -> Answer {
    let context = context::current()?;
    capture::forbid_unsafe_call()?;
    if out.is_null() {
        return Err(Code::InvalidValue);
    }
    // Who asks for a log reads it, and may have other images to try.
    let say = |message: &str| match log {
        Some(log) => drop(log.write(&format!("ptxas : error : {message}\n"))),
        None => eprintln!("vgpu: cannot load the module: {message}"),
    };
    let text = text(context.gpu.profile().sm(), &say)?;
    match load_text(&context, &text) {
        Ok(module) => out.set(module.handle),
        Err((code, message)) => {
            say(&message);
            Err(code)
        }
    }
}

/// The error log a caller of `cuModuleLoadDataEx` wants filled.
#[derive(Clone, Copy)]
struct Log {
    buffer: HostMemory,
    room: usize,
}

impl Log {
    const BUFFER: u32 = 5;
    const ROOM: u32 = 6;

    fn from_options(count: u32, options: Array<u32>, values: Array<usize>) -> Answer<Option<Log>> {
        let mut log = Log { buffer: HostMemory::at(0), room: 0 };
        for i in 0..count as usize {
            match options.at(i)? {
                Log::BUFFER => log.buffer = HostMemory::at(values.at(i)?),
                Log::ROOM => log.room = values.at(i)? & u32::MAX as usize,
                _ => {} // the rest tunes a compiler that is not there
            }
        }
        Ok((!log.buffer.is_null() && log.room > 0).then_some(log))
    }

    fn write(self, text: &str) -> Answer {
        let mut bytes = text.as_bytes()[..text.len().min(self.room - 1)].to_vec();
        bytes.push(0);
        self.buffer.write(&bytes)
    }
}

fn function(out: Out<Handle>, module: &Module, name: &str) -> Answer {
    let mut functions = lock(&module.functions);
    if let Some(&handle) = functions.get(name) {
        return out.set(handle);
    }
    let kernel = module.loaded.kernel(name).ok_or(Code::NotFound)?;
    let context = context::alive(module.context)?;
    let without_optin = context.gpu.profile().shared_per_block;
    let made = handles::insert(|handle| {
        Arc::new(Function {
            handle,
            context: module.context,
            name: CString::new(name).unwrap_or_default(),
            module: module.handle,
            dynamic_limit: AtomicU32::new(without_optin.saturating_sub(kernel.static_shared)),
            kernel,
            carveout: AtomicI32::new(-1),
            larger_clusters: AtomicI32::new(0),
        })
    });
    functions.insert(name.into(), made.handle);
    out.set(made.handle)
}

fn unload(module: Handle) -> Answer {
    let module = handles::remove::<Module>(module)?;
    for &function in lock(&module.functions).values() {
        let _ = handles::remove::<Function>(function);
    }
    Ok(())
}

fn find(module: Handle) -> Answer<Arc<Module>> {
    context::current()?;
    handles::get(module)
}

/// The function of a handle.
pub(super) fn find_function(function: Handle) -> Answer<Arc<Function>> {
    context::current()?;
    handles::get(function)
}

/// `CUfunction_attribute` by number.
fn attribute(function: &Function, number: u32) -> Answer<i32> {
    let kernel = &function.kernel;
    Ok(match number {
        0 => kernel.max_threads as i32,
        1 => kernel.static_shared as i32,
        2 => 0, // constants lie in global memory here
        3 => kernel.local_bytes as i32,
        4 => kernel.registers as i32,
        // The virtual architecture the PTX is for, in spite of the attribute's name, and the
        // one it was made into code for.
        5 | 6 => kernel.target as i32,
        7 => 0,
        8 => function.dynamic_limit.load(Ordering::SeqCst) as i32,
        9 => function.carveout.load(Ordering::SeqCst),
        10..=13 => 0, // no cluster size is required
        14 => function.larger_clusters.load(Ordering::SeqCst),
        15 => 0,
        _ => return Err(Code::InvalidValue),
    })
}

fn set_attribute(function: &Function, number: u32, value: i32) -> Answer {
    let context = context::alive(function.context)?;
    let limit = context.gpu.profile().shared_per_block_optin;
    match number {
        8 => {
            let bytes = u32::try_from(value).map_err(|_| Code::InvalidValue)?;
            if bytes.saturating_add(function.static_shared()) > limit {
                return Err(Code::InvalidValue);
            }
            function.dynamic_limit.store(bytes, Ordering::SeqCst);
            Ok(())
        }
        9 if (-1..=100).contains(&value) => {
            function.carveout.store(value, Ordering::SeqCst);
            Ok(())
        }
        14 if matches!(value, 0 | 1) => {
            function.larger_clusters.store(value, Ordering::SeqCst);
            Ok(())
        }
        _ => Err(Code::InvalidValue),
    }
}

exports! {
    /// Loads PTX text, or a fat binary with PTX in it.
    fn cuModuleLoadData(module: Out<Handle>, image: HostMemory) {
        load(module, |sm, say| image::ptx(image, sm, say), None)
    }

    /// Loads as `cuModuleLoadData` does, with an error log.
    fn cuModuleLoadDataEx(module: Out<Handle>, image: HostMemory, count: u32, options: Array<u32>, values: Array<usize>) {
        load(module, |sm, say| image::ptx(image, sm, say), Log::from_options(count, options, values)?)
    }

    /// Loads a fat binary.
    fn cuModuleLoadFatBinary(module: Out<Handle>, image: HostMemory) {
        load(module, |sm, say| image::ptx(image, sm, say), None)
    }

    /// Loads a file.
    fn cuModuleLoad(module: Out<Handle>, path: HostMemory) {
        let path = path.text()?;
        load(
            module,
            |sm, say| {
                let bytes = std::fs::read(&path).map_err(|_| Code::FileNotFound)?;
                image::ptx_of_file(bytes, sm, say)
            },
            None,
        )
    }

    /// Unloads a module with its functions and variables.
    fn cuModuleUnload(module: Handle) {
        context::current()?;
        capture::forbid_unsafe_call()?;
        if let Some(kernel) = graph::kernel_in_use(module) {
            eprintln!("vgpu: the module of {kernel} is unloaded while a graph that launches it is there");
        }
        unload(module)
    }

    /// A kernel by name.
    fn cuModuleGetFunction(function_out: Out<Handle>, module: Handle, name: HostMemory) {
        let module = find(module)?;
        let name = name.text()?;
        if name.is_empty() {
            return Err(Code::InvalidValue);
        }
        function(function_out, &module, &name)
    }

    /// A module variable by name.
    fn cuModuleGetGlobal_v2(address: Out<u64>, bytes: Out<usize>, module: Handle, name: HostMemory) {
        let module = find(module)?;
        let (start, length) = module.loaded.global(&name.text()?).ok_or(Code::NotFound)?;
        address.set_if_wanted(start);
        bytes.set_if_wanted(length as usize);
        Ok(())
    }

    /// How many kernels a module has.
    fn cuModuleGetFunctionCount(count: Out<u32>, module: Handle) {
        count.set(find(module)?.loaded.kernels().len() as u32)
    }

    /// The first kernels of a module.
    fn cuModuleEnumerateFunctions(functions: Out<Handle>, room: u32, module: Handle) {
        let module = find(module)?;
        for (i, kernel) in module.loaded.kernels().iter().take(room as usize).enumerate() {
            let mut handle: Handle = 0;
            function(Out::to(&mut handle), &module, &kernel.name)?;
            functions.set_at(i, handle)?;
        }
        Ok(())
    }

    /// Whether modules load when first used: they load at once.
    fn cuModuleGetLoadingMode(mode: Out<u32>) {
        mode.set(1)
    }

    /// An attribute of a function.
    fn cuFuncGetAttribute(value: Out<i32>, number: u32, function: Handle) {
        value.set(attribute(&*find_function(function)?, number)?)
    }

    /// Sets an attribute of a function.
    fn cuFuncSetAttribute(function: Handle, number: u32, value: i32) {
        set_attribute(&*find_function(function)?, number, value)
    }

    /// Preferred split between L1 and shared memory; without effect here.
    fn cuFuncSetCacheConfig(function: Handle, config: u32) {
        find_function(function)?;
        if config > 3 { Err(Code::InvalidValue) } else { Ok(()) }
    }

    /// Bank width of shared memory; fixed.
    fn cuFuncSetSharedMemConfig(function: Handle, _config: u32) {
        find_function(function)?;
        Ok(())
    }

    /// The module a function is in.
    fn cuFuncGetModule(module: Out<Handle>, function: Handle) {
        module.set(find_function(function)?.module)
    }

    /// A function's name, valid as long as the function.
    fn cuFuncGetName(name: Out<CText>, function: Handle) {
        name.set(CText::borrowed(&find_function(function)?.name))
    }

    /// Offset and size of a parameter.
    fn cuFuncGetParamInfo(function: Handle, index: usize, offset: Out<usize>, bytes: Out<usize>) {
        let function = find_function(function)?;
        let param = function.kernel.params.get(index).ok_or(Code::InvalidValue)?;
        offset.set(param.offset as usize)?;
        bytes.set_if_wanted(param.size as usize);
        Ok(())
    }

    /// Whether a function is loaded: always.
    fn cuFuncIsLoaded(state: Out<u32>, function: Handle) {
        find_function(function)?;
        state.set(1)
    }

    /// Loads a function; it is loaded.
    fn cuFuncLoad(function: Handle) {
        find_function(function)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_take_the_ptx_of_their_time() {
        for (driver, ptx) in [
            (11_040, (7, 4)),
            (11_080, (7, 8)),
            (12_000, (8, 0)),
            (12_040, (8, 4)),
            (12_050, (8, 5)),
            (12_060, (8, 5)),
            (12_080, (8, 7)),
            (12_090, (8, 8)),
            (13_000, (9, 0)),
        ] {
            assert_eq!(newest_ptx(driver), ptx, "driver {driver}");
        }
        assert_eq!(ptx_version("// x\n.version 8.4\n.target sm_80"), Some((8, 4)));
        assert_eq!(ptx_version("nothing"), None);
    }
}
