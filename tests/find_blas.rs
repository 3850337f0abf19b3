//! Where the bench beside cuBLASLt looks for it.

#[allow(dead_code, reason = "the bench uses the rest")]
#[path = "../benches/cublaslt/find.rs"]
mod find;

use std::path::Path;

#[test]
fn the_newest_library_of_any_wheel_comes_first() {
    let temp = tempfile::tempdir().unwrap();
    let place = |path: &str| {
        let path = temp.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "").unwrap();
        path
    };
    let old = place("a/site-packages/nvidia/cublas/lib/libcublasLt.so.12");
    let new = place("b/dist-packages/nvidia/cu13/lib/libcublasLt.so.13");
    place("b/dist-packages/nvidia/cu13/lib/libnvrtc.so.13");
    let packages = ["a/site-packages", "b/dist-packages", "c/none"].map(|folder| temp.path().join(folder));
    assert_eq!(find::in_wheels(&packages), [new, old]);
}

#[test]
fn what_the_system_knows_by_name_is_tried_before_any_wheel() {
    let candidates = find::candidates();
    assert_eq!(candidates[0], Path::new("libcublasLt.so.13"));
    assert!(candidates.contains(&"libcublasLt.so".into()));
}
