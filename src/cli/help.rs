//! What `--help` shows beside the options: examples, exit codes, what the presets are.

use clap::ValueEnum;
use tempest::config::{Levels, ModelConfig, Preset, Training};

/// Of the command as a whole.
pub(crate) const TEMPEST: &str = "\
Examples:
  tempest sample                           a text by the built-in model, at once
  tempest train                            learn Tiny Shakespeare, in minutes
  tempest train -d my-texts/ -o runs/mine  learn UTF-8 text, file or folder
  tempest sample -r runs/mine -p 'Once'    write a text that begins so
  tempest eval -r runs/mine                how well unseen text is predicted

Exit codes:
  0    done
  1    numbers that differ (check), that diverged (train), a text that would
       change (repair --check), or a failed device
  2    arguments, input or files that must change
  130  stopped by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP; training saves first";

pub(crate) const SAMPLE: &str = "\
Samplers (docs/samplers.md; what is left out is chosen):
  ancestral:STEPS:SCHEDULE  by lot, a draw from the model's own distribution;
                            linear, log-linear, cosine, quadratic or sqrt
  first-hitting             one at random a step: ancestral with endless steps
  top-k:N:SCORE             the N best; SCORE is max (the probability of the
                            likeliest symbol), margin (its lead), entropy,
                            candidate (of the symbol drawn) or random
  threshold:P:SCORE         all with a score of P (entropy: of at most P nats),
                            and always the best
  factor:PHI:SCORE          the best, and more while the r-th is at least
                            1 - PHI/(r+1); max or candidate
  entropy-bounded:NATS      the most certain, and more while the entropies of
                            those before are at most NATS together
  remdm-cap:ETA:STEPS:SCHEDULE, remdm-rescale, remdm-confidence,
  remdm-loop:ETA:STEPS
                            ancestral, and what was written is masked again
                            with a probability up to ETA

Examples:
  tempest sample -r runs/1                               one text out of nothing
  tempest sample -r runs/1 -p 'To be' -n 4               four that begin so
  tempest sample -r runs/1 -t 'KING ______: ____ you!'   fill the holes in
  tempest sample -r runs/1 -w                            watch it denoise
  tempest sample -r runs/1 -l 2000                       longer than the window
  tempest sample -r runs/1 -p 'KING:' --stop 'QUEEN:'    until the queen speaks
  tempest sample -r runs/1 --life 40 -w                  a game of life
  tempest sample -r runs/1 --as ar                       joint: left to right
  tempest sample -r runs/ar --with runs/1 --hybrid verify  two models
  tempest sample -r runs/1 --sampler top-k:4             four characters a step
  tempest sample -r runs/1 -n 1000 --json > texts.jsonl  for other programs";

#[cfg(feature = "serve")]
pub(crate) const SERVE: &str = "\
Examples:
  tempest serve                           the newest run, at 127.0.0.1:8000
  tempest serve -r runs/1 -l 127.0.0.1:0  a free port, which it prints
  TEMPEST_TOKEN=$(openssl rand -hex 16) tempest serve -l 0.0.0.0:8000

Ask it:
  curl -H 'content-type: application/json' -d '{\"prompt\": \"ROMEO:\"}' \\
    http://127.0.0.1:8000/api/generate

docs/serving.md shows more; /api/openapi.json says all of it.";

pub(crate) const FILL: &str = "\
Examples:
  tempest fill 'KING ______: My lord, the ____ is come.'
  tempest fill 'What is the _* of my lord?' -n 5       any length; 5 candidates
  tempest fill 'My _* lord' --prior words              a word's length
  tempest fill -f letter.txt                           a file; - is stdin
  tempest fill --jsonl texts.jsonl > filled.jsonl      for other programs";

pub(crate) const REPAIR: &str = "\
Examples:
  tempest repair -f letter.txt                    print it repaired
  tempest repair -f letter.txt --diff             what would change
  tempest repair -f letter.txt --patch > p        for patch < p
  tempest repair -f letter.txt --check            exit code 1 if anything would
  tempest repair -f letter.txt --sure 0.9         also where it is less sure";

pub(crate) const REWRITE: &str = "\
Examples:
  tempest rewrite -f scene.txt --strength 0.3       other words, same scene
  tempest rewrite 'My lord is gone.' -p 'KING: '    behind what stays
  tempest rewrite -f scene.txt --keep 100           from character 101 on
  tempest rewrite -f verse.txt --keep-lines         newlines stay";

pub(crate) const BENCH_FILL: &str = "\
Examples:
  tempest bench-fill                 the newest run, or built in
  tempest bench-fill --prior words   lengths as words have them
  tempest bench-fill --grams 3       beside counts of 3-grams
  tempest bench-fill --json          for other programs";

pub(crate) const BENCH_REPAIR: &str = "\
Examples:
  tempest bench-repair                               the newest run, or built in
  tempest bench-repair --rates 5 --errors-of typing  one kind, one rate
  tempest bench-repair --sure 0.95 --json            other thresholds, as JSON";

pub(crate) const EVAL: &str = "\
Examples:
  tempest eval -r runs/1                what training did not see of its text
  tempest eval -r runs/1 -d other.txt   another text
  tempest eval -r runs/1 --split train  what training saw: learned by heart?
  tempest eval -r runs/1 --json         for other programs";

pub(crate) const RUNS: &str = "\
Examples:
  tempest runs             those in runs/, the newest last
  tempest runs elsewhere   those in another folder";

pub(crate) const REPLAY: &str = "\
Examples:
  tempest replay                                 a text by the newest run
  tempest replay -r runs/1 -n 4 -o four.html     four side by side
  tempest replay -t 'KING ______: ____ you!'     how holes are filled in
  tempest replay -r runs/1 --sampler top-k:4     another order
  tempest replay -r runs/1 -o denoise.gif        a picture that moves; or .svg
  tempest replay --from-json texts.jsonl         what sample --json wrote";

pub(crate) const JUDGE: &str = "\
Examples:
  tempest judge make runs/1 runs/2 -o sheet.html   open it, choose, save
  tempest judge count answers.json others.json     who was preferred, how surely";

pub(crate) const PLOT: &str = "\
Examples:
  tempest plot runs/1 runs/2 -o both.svg         loss and validation of two runs
  tempest plot --x seconds --log-x               which of them is ahead, when
  tempest plot --show loss,lr --smooth 50 --force";

pub(crate) const REPORT: &str = "\
Examples:
  tempest report runs/1 runs/2               two runs beside real text
  tempest report --temperature 0.5,0.8,1     what a lower temperature changes
  tempest report runs/1 --json > figures.json
  tempest report runs/1 runs/2 --html report.html    with curves, as a page
  tempest report --steps 1,4,16,64 --html report.html  what few steps cost
  tempest report --judge runs/ar --html report.html  what texts cost another run
  tempest report --sampler top-k:1,top-k:4 --seconds --html q.html  over seconds";

pub(crate) const COMPARE: &str = "\
Examples:
  tempest compare runs/1 runs/2                    likelihoods, texts by steps
  tempest compare runs/1 runs/2 --html page.html   a page with charts too
  tempest compare runs/1 runs/2 --markdown > p.md  tables for a document";

pub(crate) const IMPORT: &str = "\
Examples:
  tempest import diffusion_model.pt -p original      the original's checkpoint
  tempest import ckpt.pt -p gpt                      of nanoGPT
  tempest sample -m model.safetensors -p 'ROMEO:'    write with it
  tempest train --from model.safetensors -d my.txt   train it further";

pub(crate) const EXPORT: &str = "\
Examples:
  tempest train --short-conv 0 -o runs/plain   a model that the class can hold
  tempest export -r runs/plain -o plain.safetensors > load.py";

pub(crate) const CHECK: &str = "\
Examples:
  tempest check                    every kernel beside the CPU's reference
  tempest check -p original        every op of a training step of this model
  tempest check --json found.json  with every error and tolerance in a file

Exit code 1 if anything differs by more than its tolerance.";

pub(crate) const PROFILE: &str = "\
Examples:
  tempest profile                          a training step, op by op
  tempest profile -p small -b 64           of another model or batch
  tempest profile --trace trace.json       for ui.perfetto.dev";

/// Of `train`, short.
pub(crate) const TRAIN: &str = "\
Examples:
  tempest train                              learn Tiny Shakespeare, in minutes
  tempest train -d my-texts/ -o runs/mine    learn UTF-8 text, file or folder
  tempest train -p small -n 10000            a larger model, for longer
  tempest train --process ar                 left to right, to compare with
  tempest train --process joint              both with one set of weights
  tempest train -p gpt-cpu                   nanoGPT's model, and its recipe
  tempest train --config runs/1              what another run did, again
  tempest train --from runs/1 -d more.txt    with its weights: fine-tune
  tempest train -r runs/mine                 go on after Ctrl-C or a crash";

/// Of `train`, whole.
pub(crate) fn train() -> String {
    format!("{TRAIN}\n\n{}", presets())
}

/// What each preset stands for.
fn presets() -> String {
    let all = Preset::value_variants();
    let mut table = "What the presets are, where no option says otherwise:\n".to_owned();
    let mut row = |name: &str, value: &dyn Fn(Preset) -> String| {
        let values = all.iter().map(|preset| format!("  {:>10}", value(*preset)));
        table += &format!("  {name:<14}{}\n", values.collect::<String>());
    };
    let model = |of: fn(ModelConfig) -> usize| move |preset: Preset| of(preset.model(0)).to_string();
    let training = |of: fn(Training) -> String| move |preset: Preset| of(preset.training());
    row("", &|preset| preset.to_string());
    row("--model", &|preset| preset.model(0).architecture.to_string());
    row("--process", &|preset| preset.process(0).family().to_string());
    row("--layers", &model(|m| m.n_layer));
    row("--heads", &model(|m| m.n_head));
    row("--width", &model(|m| m.n_embd));
    row("--positions", &model(|m| m.sequence_len));
    row("--timesteps", &model(|m| m.diffusion_steps));
    row("--short-conv", &model(|m| m.short_conv));
    row("--context", &|preset| preset.context_len().to_string());
    row("--vocab", &training(|t| t.vocab.to_string()));
    row("--objective", &training(|t| t.objective.name().to_owned()));
    row("--levels", &training(|mut t| t.objective.noise().map_or(Levels::UNIFORM, |noise| *noise.1).to_string()));
    row("--steps", &training(|t| t.steps.to_string()));
    row("--batch", &training(|t| t.batch.to_string()));
    row("--optimizer", &training(|t| word(&t.optimizer.kind())));
    row("--muon-lr", &training(|t| t.optimizer.muon.map_or("-".into(), |muon| muon.lr.to_string())));
    row("--lr", &training(|t| t.optimizer.lr.to_string()));
    row("--lr-schedule", &training(|t| word(&t.optimizer.schedule)));
    row("--min-lr", &training(|t| t.optimizer.min_lr.to_string()));
    row("--warmup", &training(|t| t.optimizer.warmup.to_string()));
    row("--beta1", &training(|t| t.optimizer.beta1.to_string()));
    row("--beta2", &training(|t| t.optimizer.beta2.to_string()));
    row("--weight-decay", &training(|t| t.optimizer.weight_decay.to_string()));
    row("--clip", &training(|t| t.optimizer.clip.to_string()));
    row("--dropout", &training(|t| t.optimizer.dropout.to_string()));
    row("--ema", &training(|t| t.optimizer.ema.to_string()));
    table.trim_end().to_owned()
}

/// A value as its option spells it.
fn word(value: &impl ValueEnum) -> String {
    value.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned())
}
