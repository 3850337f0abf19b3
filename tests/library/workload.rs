//! What a step of a model costs.

use std::sync::Arc;
use tempest::config::{Objective, Preset, Schedule, Unknown, VocabKind};
use tempest::data::{Corpus, Source};
use tempest::program::{DType, Storage};
use tempest::workload::{Step, Subject, Workload};

#[test]
fn the_original_model_has_the_flops_of_its_matrices() {
    let corpus = Arc::new(Corpus::open(&Source::Embedded, VocabKind::Ascii, Unknown::Error).unwrap());
    let subject = Subject {
        name: "preset original".into(),
        model: Preset::Original.model(128),
        process: Preset::Original.process(0),
        part: tempest::config::Family::Masked,
        weights: None,
        objective: Objective::simple(Schedule::Linear),
        optimizer: Preset::Original.training().optimizer,
        corpus,
    };
    // A token forward: 2 flops for each weight of the matrices, and 4·T·C in each attention.
    let token = 2.0 * (6.0 * 12.0 * 384.0 * 384.0 + 128.0 * 384.0) + 6.0 * 4.0 * 256.0 * 384.0;
    let flops = |step| {
        let workload = Workload::new(&subject, step, Storage::uniform(DType::F16), 64).unwrap();
        (workload.model_flops(), workload.work().flops)
    };
    let (model, all) = flops(Step::Train);
    assert_eq!(model, 3.0 * 64.0 * 256.0 * token);
    // The fifth product of the attention's backward.
    assert_eq!(all - model, 64.0 * 256.0 * 6.0 * 2.0 * 256.0 * 384.0);
    assert_eq!(flops(Step::Denoise).0, 64.0 * 256.0 * token);
}
