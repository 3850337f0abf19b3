//! How a virtual GPU runs and what it checks.

use crate::check::Kind;

/// When the data of a `cp.async` arrives in shared memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Landing {
    /// At issue: finds code that overwrites a stage still in use.
    #[default]
    Earliest,
    /// At the wait, the destination poisoned until then: finds code that reads before it waits.
    Latest,
}

/// How tensor cores sum floating-point products.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TensorSums {
    /// As the played device does: aligned and truncated.
    #[default]
    AsPlayed,
    /// Each product rounded to nearest, one after the other: more exact than any device, the same on all.
    Rounded,
}

/// Settings of a virtual GPU.
#[derive(Clone, Debug)]
pub struct Options {
    /// Seed of the order of blocks and warps.
    pub seed: u64,
    /// Host threads for blocks that cannot see each other; 0 = one per core.
    pub threads: usize,
    /// When the data of a `cp.async` arrives.
    pub landing: Landing,
    /// How tensor cores sum.
    pub sums: TensorSums,
    /// Bit `k as u32` is set when findings of kind `k` are looked for.
    pub checks: u32,
    /// Warp instructions after which a launch is given up as hanging.
    pub instruction_limit: u64,
}

impl Default for Options {
    /// Every check on, seed 0, one host thread per core.
    fn default() -> Options {
        Options {
            seed: 0,
            threads: 0,
            landing: Landing::Earliest,
            sums: TensorSums::AsPlayed,
            checks: u32::MAX,
            instruction_limit: u64::MAX,
        }
    }
}

impl Options {
    /// The defaults, changed by `VGPU_SEED`, `VGPU_THREADS`, `VGPU_LANDING` (`earliest`, `latest`),
    /// `VGPU_SUMS` (`played`, `rounded`) and `VGPU_CHECKS` (`all`, `none`, or names of finding kinds with commas).
    pub fn from_environment() -> Options {
        let mut options = Options::default();
        let number = |name: &str| std::env::var(name).ok().and_then(|v| v.trim().parse::<u64>().ok());
        if let Some(seed) = number("VGPU_SEED") {
            options.seed = seed;
        }
        if let Some(threads) = number("VGPU_THREADS") {
            options.threads = threads as usize;
        }
        if let Some(limit) = number("VGPU_INSTRUCTION_LIMIT") {
            options.instruction_limit = limit;
        }
        if std::env::var("VGPU_LANDING").is_ok_and(|v| v == "latest") {
            options.landing = Landing::Latest;
        }
        if std::env::var("VGPU_SUMS").is_ok_and(|v| v == "rounded") {
            options.sums = TensorSums::Rounded;
        }
        if let Ok(checks) = std::env::var("VGPU_CHECKS") {
            options.checks = match checks.as_str() {
                "all" => u32::MAX,
                "none" => 0,
                names => names.split(',').filter_map(Kind::from_name).fold(0, |m, k| m | k.bit()),
            };
        }
        options
    }

    /// Whether findings of this kind are looked for.
    pub fn checks(&self, kind: Kind) -> bool {
        self.checks & kind.bit() != 0
    }
}

/// Why a launch ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trap {
    /// `assert` failed.
    Assert,
    /// `trap` or `brkpt`.
    Trap,
    /// The launch ran longer than [`Options::instruction_limit`].
    Timeout,
}
