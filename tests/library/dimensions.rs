//! Dimensions of models: those of the presets, and those that are none.

use tempest::config::{ModelConfig, Preset, ProcessConfig};

#[test]
fn bad_dimensions_are_named_with_what_was_found() {
    let good = Preset::Nano.model(66);
    let message = |c: ModelConfig| c.validate().unwrap_err().to_string();
    assert!(message(ModelConfig { n_head: 3, ..good.clone() }).contains("3 heads do not divide a width of 128"));
    assert!(message(ModelConfig { n_head: 0, ..good.clone() }).contains("0 heads"));
    for (config, wanted) in [
        (ModelConfig { n_head: 1 << 63, ..good.clone() }, "9223372036854775808 heads (n_head); wanted at most 64"),
        (ModelConfig { n_layer: usize::MAX, ..good.clone() }, "layers (n_layer); wanted at most 1024"),
        (ModelConfig { n_embd: usize::MAX, ..good.clone() }, "width (n_embd); wanted at most 65536"),
        (ModelConfig { sequence_len: 1 << 32, ..good.clone() }, "positions (sequence_len); wanted at most 65536"),
        (ModelConfig { diffusion_steps: 1 << 32, ..good.clone() }, "timesteps (diffusion_steps); wanted at most 65536"),
        (
            ModelConfig { n_head: 1, n_embd: 2048, ..good.clone() },
            "heads of 2048 columns; wanted at most 1024: 2 heads",
        ),
        (ModelConfig { short_conv: 65, ..good.clone() }, "65 taps (short_conv); wanted at most 63"),
        (ModelConfig { short_conv: 4, ..good.clone() }, "4 taps (short_conv); wanted an odd number, or 0 for none"),
    ] {
        let said = message(config);
        assert!(said.contains(wanted), "{said}");
    }
    let refused = |process: ProcessConfig| process.validate(&good).unwrap_err().to_string();
    assert!(
        refused(ProcessConfig::Masked { mask_token_id: 66, context_len: 0, prompt_drop: 0.0 })
            .contains("mask token 66")
    );
    assert!(
        refused(ProcessConfig::Masked { mask_token_id: 65, context_len: 128, prompt_drop: 0.0 })
            .contains("context of 128")
    );
}

#[test]
fn the_nano_preset_has_about_a_million() {
    let n = Preset::Nano.model(66).n_params();
    assert!((900_000..1_100_000).contains(&n), "{n}");
}
