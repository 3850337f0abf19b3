//! `vgpu`: runs and inspects PTX kernels without a GPU.

use std::path::Path;
use std::process::ExitCode;
use vgpu::gpu::{Landing, Profile, TensorSums};
use vgpu::report;
use vgpu::runner::{Case, Settings};

const USAGE: &str = "\
Runs PTX kernels on a virtual NVIDIA GPU, and checks and counts what they do.

usage: vgpu run [options] CASE_DIR OUT_DIR    run the launch that CASE_DIR/case.json describes
       vgpu inspect FILE.ptx                  list kernels, parameters, registers, shared memory

options of run:
  --strict            exit 1 if there are findings
  --profile NAME      the device to play: a100, rtx4090, h100 (default: by the PTX's target)
  --seed N            order of blocks and warps (default 0)
  --threads N         host threads (default: one per core)
  --landing WHEN      when cp.async data arrives: earliest, latest (default earliest)
  --sums HOW          how tensor cores sum: played (as the device does), rounded (default played)
  --quiet             print nothing but errors

The exit status is 0 when the run completed, even if the kernel trapped, 2 for bad input.
The environment variables VGPU_PROFILE, VGPU_SEED, VGPU_THREADS, VGPU_LANDING, VGPU_SUMS and
VGPU_CHECKS set defaults.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments.as_slice() {
        ["run", rest @ ..] => run(rest),
        ["inspect", file] => inspect(Path::new(file)),
        [] | ["help" | "--help" | "-h", ..] => {
            println!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        _ => Err(format!("cannot make sense of `vgpu {}`\n\n{USAGE}", arguments.join(" "))),
    };
    outcome.unwrap_or_else(|message| {
        eprintln!("vgpu: {message}");
        ExitCode::from(2)
    })
}

struct RunOptions<'a> {
    folders: Vec<&'a str>,
    settings: Settings,
    is_strict: bool,
    is_quiet: bool,
}

fn parse<'a>(options: &[&'a str]) -> Result<RunOptions<'a>, String> {
    let default = std::env::var("VGPU_PROFILE").ok().as_deref().map(profile).transpose()?;
    let settings = Settings { profile: default, options: vgpu::gpu::Options::from_environment() };
    let mut parsed = RunOptions { folders: Vec::new(), settings, is_strict: false, is_quiet: false };
    let mut rest = options.iter();
    while let Some(&option) = rest.next() {
        let mut value = || rest.next().copied().ok_or(format!("{option} needs a value"));
        let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{option} {text}: not a number"));
        match option {
            "--strict" => parsed.is_strict = true,
            "--quiet" => parsed.is_quiet = true,
            "--seed" => parsed.settings.options.seed = number(value()?)?,
            "--threads" => parsed.settings.options.threads = number(value()?)? as usize,
            "--profile" => parsed.settings.profile = Some(profile(value()?)?),
            "--landing" => {
                parsed.settings.options.landing = match value()? {
                    "earliest" => Landing::Earliest,
                    "latest" => Landing::Latest,
                    other => return Err(format!("--landing {other}: wanted earliest or latest")),
                };
            }
            "--sums" => {
                parsed.settings.options.sums = match value()? {
                    "played" => TensorSums::AsPlayed,
                    "rounded" => TensorSums::Rounded,
                    other => return Err(format!("--sums {other}: wanted played or rounded")),
                };
            }
            _ if option.starts_with("--") => return Err(format!("unknown option {option}\n\n{USAGE}")),
            folder => parsed.folders.push(folder),
        }
    }
    Ok(parsed)
}

fn profile(name: &str) -> Result<Profile, String> {
    Profile::by_name(name).ok_or(format!("no profile \"{name}\"; there are a100, rtx4090, h100"))
}

fn run(arguments: &[&str]) -> Result<ExitCode, String> {
    let RunOptions { folders, settings, is_strict, is_quiet } = parse(arguments)?;
    let [case, out] = folders[..] else { return Err(format!("run needs two folders\n\n{USAGE}")) };
    let out = Path::new(out);
    let case = Case::read(Path::new(case)).map_err(|e| e.to_string())?;
    let outcome = vgpu::runner::run(&case, &settings).map_err(|e| e.to_string())?;
    outcome.write(out).map_err(|e| format!("{}: {e}", out.display()))?;
    let launch = &outcome.report;
    if !is_quiet {
        for line in &launch.stdout {
            println!("{line}");
        }
        for finding in &launch.findings {
            println!("{}", report::describe(finding));
        }
        if let Some(trap) = launch.trap {
            println!("ended by {}", report::trap_name(trap));
        }
        let count = match launch.findings.len() {
            0 => "no findings".to_string(),
            1 => "1 finding".to_string(),
            n => format!("{n} findings"),
        };
        print!("{count}, {:.3} s\n{}", launch.seconds, report::table(&launch.counters));
        let r = outcome.resources;
        println!("  registers per thread {} (estimate), shared memory {} bytes", r.registers, r.shared);
        println!("  resident on an SM: {} blocks, {} of {} warps", r.blocks, r.warps, r.warps_limit);
    }
    Ok(if is_strict && !launch.findings.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn inspect(file: &Path) -> Result<ExitCode, String> {
    let ptx = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    let text = vgpu::runner::inspect(&ptx).map_err(|e| format!("{}: {e}", file.display()))?;
    print!("{text}");
    Ok(ExitCode::SUCCESS)
}
