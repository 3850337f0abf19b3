//! The `vgpu` command: runs a launch described in JSON, or lists what a PTX file holds.

use std::path::Path;
use std::process::ExitCode;

use vgpu::count::CLASSES;
use vgpu::gpu::{Gpu, Options, Profile};
use vgpu::runner;

const USAGE: &str = "usage: vgpu run [--strict] [--profile NAME] [--latest] [--seed N] CASE_DIR OUT_DIR
       vgpu inspect FILE.ptx

run      executes the launch of CASE_DIR/case.json, writes each output and report.json to OUT_DIR;
         exit status 0 when it ran, 1 with --strict when something was found, 2 for bad input
inspect  lists kernels with their parameters, registers, shared memory and instruction mix";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        ["run", rest @ ..] => run(rest),
        ["inspect", file] => inspect(Path::new(file)),
        ["--help" | "-h" | "help"] => {
            println!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        _ => Err(USAGE.to_string()),
    };
    done.unwrap_or_else(|message| {
        eprintln!("{message}");
        ExitCode::from(2)
    })
}

fn run(args: &[&str]) -> Result<ExitCode, String> {
    let mut options = Options::from_environment();
    let mut profile = std::env::var("VGPU_PROFILE").unwrap_or_else(|_| "h100".into());
    let mut strict = false;
    let mut folders = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match *arg {
            "--strict" => strict = true,
            "--latest" => options.landing = vgpu::gpu::Landing::Latest,
            "--seed" => {
                let seed = args.next().and_then(|s| s.parse().ok());
                options.seed = seed.ok_or("--seed needs a number")?;
            }
            "--profile" => profile = args.next().ok_or("--profile needs a name")?.to_string(),
            flag if flag.starts_with("--") => return Err(format!("unknown option {flag}\n{USAGE}")),
            folder => folders.push(folder),
        }
    }
    let [case, out] = folders[..] else { return Err(USAGE.to_string()) };
    let profile = Profile::by_name(&profile)
        .ok_or_else(|| format!("there is no profile `{profile}`; try a100, rtx4090 or h100"))?;
    let report = runner::run(Path::new(case), Path::new(out), profile, options)
        .map_err(|e| e.to_string())?;
    for line in &report.launch.stdout {
        println!("{line}");
    }
    print!("{}", runner::table(&report));
    let failed = strict && report.has_findings();
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn inspect(path: &Path) -> Result<ExitCode, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let gpu = Gpu::new(Profile::h100(), Options::default());
    let module = gpu.load(&text).map_err(|e| {
        let place = e.kernel.map_or(String::new(), |k| format!(" in `{k}`"));
        format!("{}:{}{place}: {}", path.display(), e.line, e.message)
    })?;
    let (major, minor) = module.ptx_version();
    println!("{}: PTX {major}.{minor}, {} kernels", path.display(), module.kernels().len());
    for kernel in module.kernels() {
        println!("\n{} (sm_{})", kernel.name, kernel.target);
        for (i, param) in kernel.params.iter().enumerate() {
            let (at, size, align) = (param.offset, param.size, param.align);
            println!("  parameter {i}: {size} bytes at {at}, aligned to {align}");
        }
        println!("  registers {} (estimate)", kernel.registers);
        println!("  shared {} bytes, local {} bytes", kernel.static_shared, kernel.local_bytes);
        let block = kernel.required_block.map_or(String::new(), |b| format!(", exactly {b:?}"));
        println!("  block of at most {} threads{block}", kernel.max_threads);
        for (name, number) in CLASSES.iter().zip(kernel.mix()) {
            if number > 0 {
                println!("  {name:10} {number:>6}");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
