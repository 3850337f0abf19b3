//! Policies of sampling, as they are written.

use tempest::config::{Policy, Schedule};

#[test]
fn a_policy_is_read_as_it_is_written() {
    let ancestral = |steps, schedule| Policy::Ancestral { steps, schedule };
    let all = [
        Policy::Threshold(0.9),
        Policy::Threshold(0.0),
        Policy::TopK(Some(4)),
        Policy::TopK(None),
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
        "threshold:0.9 threshold:0 top-k:4 top-k ancestral:64 ancestral:7:log-linear ancestral ancestral:linear"
    );
}

#[test]
fn what_is_left_out_is_chosen_by_the_length() {
    let filled = |text: &str, length| text.parse::<Policy>().unwrap().for_length(length).to_string();
    assert_eq!(filled("threshold", 128), "threshold:0.9");
    assert_eq!(["top-k", "top-k:7"].map(|text| filled(text, 128)), ["top-k:12", "top-k:7"]);
    assert_eq!(filled("top-k", 3), "top-k:1");
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
        "threshold:x",
        "ancestral:",
        "ancestral:3:steep",
        "ancestral:3:4",
        "top-k:4:5:6",
        "ancestral:3:linear:",
    ] {
        let error = text.parse::<Policy>().unwrap_err().to_string();
        assert!(error.contains("is no sampler; wanted threshold, top-k or ancestral"), "{text}: {error}");
    }
    for text in ["top-k:0", "threshold:2", "threshold:NaN", "ancestral:0"] {
        let error = text.parse::<Policy>().unwrap_err().to_string();
        assert!(error.starts_with(&format!("the sampler is {text}; wanted ")), "{error}");
    }
}
