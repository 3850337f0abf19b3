//! What to try when a run is behind.

use crate::config::{Preset, RunConfig};
use clap::ValueEnum;

/// Times that a learning rate may be above the preset's, or below, without being named.
const FAR: f32 = 2.0;

/// Share of skipped steps that is worth a word: a loss scale that has settled skips one in 2000.
const MANY_SKIPPED: f64 = 0.05;

/// A line for people whose run, one of the preset of this name, is behind. All that it names are options of `train`.
pub(super) fn advice(config: &RunConfig, name: &str, skipped: u64, step: u64) -> String {
    let own = &config.optimizer;
    let mut cures = Vec::new();
    if let Ok(preset) = Preset::from_str(name, false) {
        let healthy = preset.training().optimizer;
        let mut rate = |option: &str, own: f32, healthy: f32| {
            if own > FAR * healthy {
                cures.push(format!("a lower {option} (it is {own}, the preset's {healthy})"));
            } else if own * FAR < healthy {
                cures.push(format!("a higher {option} (it is {own}, the preset's {healthy})"));
            }
        };
        rate("--lr", own.lr, healthy.lr);
        if let Some((own, healthy)) = own.muon.zip(healthy.muon) {
            rate("--muon-lr", own.lr, healthy.lr);
        }
        if healthy.clip > 0.0 && !(own.clip > 0.0 && own.clip <= FAR * healthy.clip) {
            cures.push(format!("--clip {} (it is {})", healthy.clip, own.clip));
        }
        if own.warmup * 2 < healthy.warmup {
            cures.push(format!("--warmup {} (it is {})", healthy.warmup, own.warmup));
        }
        if own.weight_decay > FAR * healthy.weight_decay {
            cures.push(format!("--weight-decay {} (it is {})", healthy.weight_decay, own.weight_decay));
        }
        if own.dropout > healthy.dropout {
            cures.push(format!("--dropout {} (it is {})", healthy.dropout, own.dropout));
        }
    }
    if skipped as f64 > MANY_SKIPPED * step as f64 {
        cures.push(format!("--dtype bf16 ({skipped} of {step} steps were skipped, their gradients out of range)"));
    }
    match cures.is_empty() {
        true => {
            "its options are the preset's: the text may be harder than prose, such as tables or what is encoded".into()
        }
        false => format!("try in a new run: {}", cures.join("; ")),
    }
}
