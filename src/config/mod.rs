//! Everything that describes a run: the model, the noise, the optimizer, the data. All of it is in `config.toml`.

#[macro_use]
mod words;

mod assign;
mod autoencoder;
mod averages;
mod blocks;
mod data;
mod density;
mod dtype;
mod gamma;
mod growth;
mod levels;
mod mask_share;
mod model;
mod objective;
mod pattern;
mod policy;
mod preset;
mod process;
mod relaxation;
mod run;
mod schedule;

pub use assign::Assignment;
pub use autoencoder::{Autoencoder, Stage};
pub use averages::{Averages, Weights};
pub use blocks::BlockLengths;
pub use data::{DataConfig, Newlines, TokenizerConfig, Unknown, Validation, VocabKind};
pub use density::{DENSITY_CELLS, Density};
pub use dtype::DType;
pub use gamma::Gamma;
pub use growth::BatchGrowth;
pub use levels::Levels;
pub use mask_share::MaskShare;
pub use model::{Architecture, LARGEST_HEAD, LARGEST_VECTOR, ModelConfig, NOISE_FEATURES};
pub use objective::{Objective, Target};
pub use pattern::Pattern;
pub use policy::{Policy, Quota, Remasking, Score};
pub use preset::{Preset, Training};
pub use process::{Family, Measure, ProcessConfig};
pub use relaxation::{Relaxation, Temperatures};
pub use run::{FromConfig, LrSchedule, MuonConfig, Optimizer, OptimizerConfig, RunConfig, TrainConfig};
pub use schedule::Schedule;

shown_as_options!(Architecture, Family, Preset, Schedule, Score, Stage, VocabKind);

/// Whether a value is what a file that leaves it out means.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
