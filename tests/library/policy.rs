//! Policies of sampling, as they are written.

use tempest::config::{Policy, Remasking, Schedule, Score};

#[test]
fn a_policy_is_read_as_it_is_written() {
    let ancestral = |steps, schedule| Policy::Ancestral { steps, schedule };
    let remdm = |rule, steps, schedule| Policy::Remdm { rule, eta: 0.25, steps, schedule };
    let all = [
        Policy::threshold(0.9),
        Policy::threshold(0.0),
        Policy::top_k(4),
        Policy::TopK(None, Score::Max),
        Policy::TopK(Some(4), Score::Candidate),
        Policy::TopK(None, Score::Candidate),
        Policy::Threshold(0.5, Score::Candidate),
        Policy::TopK(Some(2), Score::Margin),
        Policy::TopK(Some(2), Score::Random),
        Policy::TopK(Some(1), Score::Random),
        Policy::Threshold(0.25, Score::Entropy),
        Policy::Factor(1.5, Score::Max),
        Policy::Factor(1.0, Score::Candidate),
        Policy::EntropyBounded(0.5),
        remdm(Remasking::Cap, Some(64), Schedule::Cosine),
        remdm(Remasking::Rescale, None, Schedule::Linear),
        remdm(Remasking::Confidence, Some(9), Schedule::Cosine),
        remdm(Remasking::Loop, Some(9), Schedule::Cosine),
        ancestral(Some(64), Schedule::Cosine),
        ancestral(Some(7), Schedule::LogLinear),
        ancestral(None, Schedule::Cosine),
        ancestral(None, Schedule::Linear),
    ];
    for policy in all {
        assert_eq!(policy.to_string().parse::<Policy>().unwrap(), policy);
        let json = serde_json::to_string(&policy).unwrap();
        assert_eq!((json.as_str(), serde_json::from_str(&json).unwrap()), (&*format!("\"{policy}\""), policy));
    }
    assert_eq!(
        all.map(|p| p.to_string()).join(" "),
        "threshold:0.9 threshold:0 top-k:4 top-k top-k:4:candidate top-k:candidate threshold:0.5:candidate \
         top-k:2:margin top-k:2:random first-hitting threshold:0.25:entropy factor:1.5 factor:1:candidate \
         entropy-bounded:0.5 remdm-cap:0.25:64 remdm-rescale:0.25:linear remdm-confidence:0.25:9 remdm-loop:0.25:9 ancestral:64 ancestral:7:log-linear ancestral ancestral:linear"
    );
}

#[test]
fn what_is_left_out_is_chosen_by_the_length() {
    let filled = |text: &str, length| text.parse::<Policy>().unwrap().for_length(length).to_string();
    assert_eq!(filled("threshold", 128), "threshold:0.9");
    assert_eq!(["top-k", "top-k:7"].map(|text| filled(text, 128)), ["top-k:12", "top-k:7"]);
    assert_eq!(filled("top-k", 3), "top-k:1");
    assert_eq!(filled("top-k:candidate", 40), "top-k:4:candidate");
    assert_eq!(filled("threshold:candidate", 40), "threshold:0.9:candidate");
    assert_eq!(filled("threshold:entropy", 40), "threshold:0.1:entropy");
    assert_eq!(["factor", "entropy-bounded"].map(|text| filled(text, 40)), ["factor:1", "entropy-bounded:0.1"]);
    assert_eq!(filled("ancestral", 128), "ancestral:128");
    assert_eq!(filled("ancestral:linear", 128), "ancestral:128:linear");
}

#[test]
fn what_is_no_policy_is_refused_with_what_was_wanted() {
    for text in [
        "",
        "beam",
        "top-k:",
        "top-k:-1",
        "top-k:4:linear",
        "top-k:candidate:4",
        "ancestral:3:candidate",
        "first-hitting:2",
        "entropy-bounded:0.1:max",
        "factor:x",
        "threshold:x",
        "ancestral:",
        "ancestral:3:steep",
        "ancestral:3:4",
        "top-k:4:5:6",
        "ancestral:3:linear:",
    ] {
        let error = text.parse::<Policy>().unwrap_err().to_string();
        assert!(
            error.contains(
                "is no sampler; wanted threshold, top-k, factor, entropy-bounded, first-hitting, ancestral, remdm-cap, remdm-rescale, remdm-confidence, remdm-loop, ddpm or ddim, as in"
            ),
            "{text}: {error}"
        );
    }
    for text in [
        "top-k:0",
        "threshold:2",
        "threshold:NaN",
        "threshold:-1:entropy",
        "threshold:0.5:random",
        "factor:-1",
        "factor:1:margin",
        "entropy-bounded:inf",
        "ancestral:0",
        "remdm-cap:2",
        "remdm-rescale:0.1:0",
        "remdm-loop:0.1:5:linear",
    ] {
        let error = text.parse::<Policy>().unwrap_err().to_string();
        assert!(error.starts_with(&format!("the sampler is {text}; wanted ")), "{error}");
    }
}

#[test]
fn what_has_no_likelihood_says_what_has_one() {
    let refused = |text: &str| text.parse::<Policy>().unwrap().check_likelihood().unwrap_err().to_string();
    assert_eq!(
        refused("top-k:4:candidate"),
        "top-k:4:candidate commits by what was drawn and has no exact likelihood; top-k:4 commits by probabilities and has one"
    );
    assert!(refused("threshold:0.5:candidate").contains("; threshold:0.5 commits by probabilities"));
    assert!(refused("ancestral:9").contains("is random and has no exact likelihood; its bound is the NELBO"));
    assert!(refused("remdm-loop").contains("takes back what it wrote and has no exact likelihood"));
    assert!(refused("factor:2:candidate").contains("; factor:2 commits by probabilities"));
    assert!(refused("first-hitting").contains("is random and has no exact likelihood; its bound is the NELBO"));
    assert!(refused("top-k:4:random").contains("commits by lot and has no exact likelihood; top-k:4 commits"));
    for text in ["top-k:4", "top-k:margin", "threshold:0.9", "threshold:0.1:entropy", "factor:2", "entropy-bounded:0.5"]
    {
        text.parse::<Policy>().unwrap().check_likelihood().unwrap();
    }
}

#[test]
fn remasking_keeps_the_share_of_masks_that_its_grid_says() {
    for text in ["remdm-cap:0.3:20", "remdm-cap:1:7:linear", "remdm-rescale:0.5:20:quadratic", "remdm-loop:0.1:40"] {
        let policy: Policy = text.parse().unwrap();
        let (mut rate, mut back) = (1.0, 0.0);
        for step in 0..policy.steps(16, 16) {
            let (reveal, remask) = (policy.reveal(step, 16), policy.remask(step, 16));
            assert!([reveal, remask].iter().all(|p| (-1e-12..1.0 + 1e-12).contains(p)), "{text}: {reveal} {remask}");
            rate += (1.0 - rate) * remask - rate * reveal;
            back += remask;
            let ancestral = Schedule::Cosine.rate_at(20 - 1 - step.min(19), 20);
            assert!(text != "remdm-cap:0.3:20" || (rate - ancestral).abs() < 1e-12, "{text}: {rate} at {step}");
        }
        // Of double precision.
        assert!(rate.abs() < 1e-12 && back > 0.0, "{text} leaves {rate}");
    }
    let held: Policy = "remdm-loop:0.1:40".parse().unwrap();
    let holds = |step: &u32| held.remask(*step, 16) > 0.0;
    assert_eq!((0..40).filter(holds).collect::<Vec<_>>(), (18..38).collect::<Vec<_>>(), "from time 0.55 to 0.05");
}
