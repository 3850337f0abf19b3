//! Counters of launches as numbers that can be scaled.

use crate::device::driver;
use serde_json::Value;
use std::collections::BTreeMap;
use tempest::program::Work;

/// The virtual GPU's counters, by name; instructions by class as `instructions.tensor`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Counts(BTreeMap<String, f64>);

impl Counts {
    /// Of a report.
    fn of(counters: &Value) -> Self {
        let mut counts = BTreeMap::new();
        for (name, value) in counters.as_object().expect("counters are an object") {
            match value.as_object() {
                Some(classes) => counts.extend(classes.iter().map(|(c, n)| (format!("{name}.{c}"), number(n)))),
                None => drop(counts.insert(name.clone(), number(value))),
            }
        }
        Counts(counts)
    }

    /// One of them.
    #[track_caller]
    pub(crate) fn get(&self, name: &str) -> f64 {
        *self.0.get(name).unwrap_or_else(|| panic!("the virtual GPU does not count {name}"))
    }

    /// Each made from both.
    fn with(&self, other: &Self, make: impl Fn(f64, f64) -> f64) -> Self {
        Counts(self.0.iter().map(|(name, n)| (name.clone(), make(*n, other.get(name)))).collect())
    }

    /// Bytes between chip and memory if nothing of an earlier launch is still in a cache.
    pub(crate) fn dram_bytes(&self) -> f64 {
        self.get("dram_bytes_read") + self.get("dram_bytes_written")
    }

    /// Bytes that cross from L2 to the multiprocessors and back: no hit in L1 is assumed.
    pub(crate) fn l2_bytes(&self) -> f64 {
        32.0 * (self.get("global_load_sectors") + self.get("global_store_sectors"))
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("counters are numbers")
}

/// One launch.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    pub(crate) kernel: String,
    pub(crate) blocks: f64,
    pub(crate) threads: u32,
    pub(crate) counts: Counts,
}

/// An op and its launches.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) op: &'static str,
    /// What tells it from others of its kind: `inner 1536`.
    pub(crate) variant: String,
    /// As a profile tells it from others: `384→1152`.
    pub(crate) detail: String,
    /// How often it is in the whole step.
    pub(crate) copies: usize,
    pub(crate) work: Work,
    /// Of operands that it reads.
    pub(crate) read_bytes: f64,
    /// Exponentials, roots and the like.
    pub(crate) special_functions: f64,
    pub(crate) launches: Vec<Launch>,
}

/// What hands the step its arguments, in front of every op that runs alone.
const OF_NO_OP: [&str; 2] = ["queue_steps", "next_step"];

/// The launches since the reports were cleared, which must be without findings.
#[track_caller]
pub(crate) fn launches() -> Vec<Launch> {
    let reports = driver().reports();
    let of = |report: &Value, key: &str, i: usize| report[key][i].as_u64().expect("a report has its shape");
    let list = reports.iter().filter(|report| !OF_NO_OP.iter().any(|name| report["kernel"] == *name)).map(|report| {
        assert_eq!(report["findings"].as_array().map(Vec::len), Some(0), "{:#}", report["findings"]);
        Launch {
            kernel: report["kernel"].as_str().expect("a kernel has a name").to_owned(),
            blocks: (0..3).map(|i| of(report, "grid", i) as f64).product(),
            threads: (0..3).map(|i| of(report, "block", i) as u32).product(),
            counts: Counts::of(&report["counters"]),
        }
    });
    list.collect()
}

impl Launch {
    /// One of which only these are counted: flops of products, sectors of loads from L2 and of memory.
    pub(crate) fn of_counts(kernel: &str, blocks: f64, mma_flops: f64, l2_sectors: f64, memory_sectors: f64) -> Self {
        let counted =
            [("mma_flops", mma_flops), ("global_load_sectors", l2_sectors), ("dram_bytes_read", 32.0 * memory_sectors)];
        let others = [
            "dram_bytes_written",
            "global_store_sectors",
            "warp_instructions",
            "instructions.move",
            "shared_load_wavefronts",
            "shared_store_wavefronts",
        ];
        let all = counted.into_iter().chain(others.map(|name| (name, 0.0)));
        let counts = Counts(all.map(|(name, n)| (name.to_owned(), n)).collect());
        Launch { kernel: kernel.to_owned(), blocks, threads: 256, counts }
    }
}

impl Measured {
    /// Its launches, each with how many special functions it computes: all of an op's are in its first.
    pub(crate) fn each_launch(&self) -> impl Iterator<Item = (&Launch, f64)> {
        let special = std::iter::once(self.special_functions).chain(std::iter::repeat(0.0));
        self.launches.iter().zip(special)
    }

    /// The same op over `to` sequences, from two measurements over other numbers of sequences. All that is counted is linear
    /// in the rows: whole tiles, each with the same work, and weights that each launch reads once.
    #[track_caller]
    pub(crate) fn extrapolated(points: [(usize, &Measured); 2], to: usize) -> Measured {
        let [(n, a), (m, b)] = points;
        assert_ne!(n, m);
        let line = |x: f64, y: f64| x + (y - x) * (to as f64 - n as f64) / (m as f64 - n as f64);
        assert_eq!(a.launches.len(), b.launches.len(), "{}: other launches over {m} sequences than over {n}", a.op);
        let launches = a.launches.iter().zip(&b.launches).map(|(a, b)| {
            assert_eq!(a.kernel, b.kernel, "another kernel over {m} sequences than over {n}");
            Launch { blocks: line(a.blocks, b.blocks), counts: a.counts.with(&b.counts, line), ..a.clone() }
        });
        Measured {
            work: Work { flops: line(a.work.flops, b.work.flops), bytes: line(a.work.bytes, b.work.bytes) },
            read_bytes: line(a.read_bytes, b.read_bytes),
            special_functions: line(a.special_functions, b.special_functions),
            launches: launches.collect(),
            ..a.clone()
        }
    }

    /// A counter over all launches.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        self.launches.iter().map(|launch| launch.counts.get(name)).sum()
    }

    /// Bytes between chip and memory, those of the workspace included.
    pub(crate) fn dram_bytes(&self) -> f64 {
        self.launches.iter().map(|launch| launch.counts.dram_bytes()).sum()
    }

    /// Those of them that are partial sums in the workspace: the first of two launches writes nothing else, reads beyond the
    /// op's operands only what it has just written, and leaves the rest to the second.
    pub(crate) fn workspace_bytes(&self) -> f64 {
        let [first, second] = &self.launches[..] else { return 0.0 };
        let written = first.counts.get("dram_bytes_written");
        let again = (first.counts.get("dram_bytes_read") - self.read_bytes).max(0.0);
        written + again + second.counts.get("dram_bytes_read").min(written)
    }

    /// Bytes between chip and memory that are the op's operands, over the fewest that must move.
    pub(crate) fn traffic_ratio(&self) -> f64 {
        (self.dram_bytes() - self.workspace_bytes()) / self.work.bytes
    }

    /// The op, told from others of its kind.
    pub(crate) fn name(&self) -> String {
        if self.variant.is_empty() { self.op.to_owned() } else { format!("{} ({})", self.op, self.variant) }
    }
}
