//! `tempest devices`.

use super::print;
use tempest::Result;
use tempest::backend::Device;
use tempest::backend::cuda::virtual_gpu::{self, Counters};
use tempest::backend::cuda::{self, Gpu};
use tempest::program::DType;

pub(crate) fn run() -> Result<()> {
    let mut lines = vec![("cpu".to_owned(), super::describe(&Device::Cpu).replacen("cpu, ", "", 1))];
    let mut line = |what: &str, text: String| lines.push((what.to_owned(), text));
    match cuda::built_with() {
        Ok((compiler, notes)) => {
            let archs: Vec<String> = cuda::machine_code().map(|sm| format!("sm_{sm}")).collect();
            let code =
                if archs.is_empty() { String::new() } else { format!("machine code for {} and ", archs.join(", ")) };
            line("kernels", format!("{code}PTX, by {compiler}"));
            notes.iter().for_each(|note| line("", (*note).to_owned()));
        }
        Err(why) => line("kernels", format!("none: {why}")),
    }
    let best = Gpu::best(super::options()).map_or("cpu".to_owned(), |gpu| format!("cuda:{}", gpu.ordinal()));
    match cuda::driver_version().and_then(|version| Ok((version, cuda::count()?))) {
        Ok((version, count)) => {
            let played = if Counters::of_driver().is_some() { ", played by the virtual GPU" } else { "" };
            line("driver", format!("CUDA {version}{played}"));
            for number in 0..count {
                let name = format!("cuda:{number}");
                match describe(number) {
                    Ok(text) => {
                        let mut name = &name[..];
                        for text in text {
                            line(name, text);
                            name = "";
                        }
                    }
                    Err(why) => line(&name, why.to_string()),
                }
            }
        }
        Err(why) => line("cuda", format!("none: {why}")),
    }
    if let Some(path) = virtual_gpu::library() {
        line("vgpu", format!("the tests' virtual GPU, {}", path.display()));
    }
    line("", String::new());
    line("auto", format!("is {best}"));
    let table = lines.iter().map(|(what, text)| format!("{what:<8}  {text}").trim_end().to_owned() + "\n");
    print(&table.collect::<String>())
}

/// What a GPU is, and whether it can be used.
fn describe(number: usize) -> Result<Vec<String>> {
    let gpu = Gpu::inspect(number, super::options())?;
    let gb = gpu.memory_bytes() as f64 / 1e9;
    let peaks = match (gpu.bandwidth_gb(), gpu.tensor_tflops()) {
        (None, None) => "its driver tells no clocks; tempest profile measures its speed".to_owned(),
        (bandwidth, tflops) => {
            let bandwidth = bandwidth.map(|gb| format!("{gb:.0} GB/s"));
            let tflops = tflops.map(|tflops| format!("{tflops:.0} TFLOP/s in halves"));
            let known: Vec<String> = [bandwidth, tflops].into_iter().flatten().collect();
            format!("{}, by its clocks", known.join(", "))
        }
    };
    let mut lines = vec![
        format!("{}, sm_{}", gpu.name(), gpu.sm()),
        format!("{gb:.1} GB, {:.1} free; {peaks}", gpu.free_bytes()? as f64 / 1e9),
    ];
    if let Err(why) = gpu.check() {
        lines.push(format!("cannot be used: {why}"));
        return Ok(lines);
    }
    for (name, dtype) in [("f16", DType::F16), ("bf16", DType::Bf16)] {
        match gpu.image(dtype) {
            Ok(from) => lines.push(format!("{name} runs from {from}")),
            Err(why) => lines.push(format!("{name} does not run: {why}")),
        }
    }
    Ok(lines)
}
