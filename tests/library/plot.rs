//! Charts: what is drawn where, and curves of runs.

use std::fs;
use tempest::page::{Figure, Looks, Over, Trained, charts};
use tempest::plot::{self, Axis, Chart, Line, Point, Scale, Size, Style};
use tempest::report::{History, averaged};
use tempest::store::RunPaths;

fn chart(points: Vec<Point>) -> Chart {
    let line = Line { name: Some("a".into()), points, ..Line::default() };
    Chart { title: "t".into(), lines: vec![line], ..Chart::default() }
}

fn points(of: &[(f64, f64)]) -> Vec<Point> {
    of.iter().map(|&point| point.into()).collect()
}

/// What the lines of a chart without ticks in between are drawn by: `d` of every path that is no tick.
fn drawn(svg: &str) -> Vec<String> {
    let paths = svg.split("<path ").skip(1).filter(|path| !path.starts_with("class=\"grid\""));
    paths.map(|path| path.split(" d=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()).collect()
}

#[test]
fn what_is_no_number_is_a_gap_and_a_lone_point_has_a_place() {
    let file = |points| plot::file(&[chart(points)], Size::FILE);
    let gap = file(points(&[(0.0, 1.0), (1.0, 2.0), (2.0, f64::NAN), (3.0, 1.5), (4.0, 1.0)]));
    // The legend's line, then the curve's.
    let curve = &drawn(&gap)[1];
    assert_eq!((curve.matches('M').count(), curve.matches('L').count()), (2, 2), "{curve}");
    let lone = drawn(&file(points(&[(7.0, 3.0)])))[1].clone();
    assert!(lone.starts_with('M') && !lone.contains("NaN") && !lone.contains("inf"), "{lone}");
    let none = file(points(&[(f64::NAN, 1.0)]));
    assert!(none.contains("nothing was measured"), "{none}");
    let huge = file(points(&[(0.0, -1e300), (1.0, 1e300)]));
    assert!(!huge.contains("NaN") && !huge.contains("inf"), "{huge}");
}

#[test]
fn a_logarithm_leaves_out_what_has_none_and_spreads_the_rest() {
    let log = Axis { scale: Scale::Log, ..Axis::default() };
    let chart = Chart { x: log, ..chart(points(&[(0.0, 9.0), (1.0, 0.0), (10.0, 1.0), (100.0, 0.0)])) };
    let curve = &drawn(&plot::file(&[chart], Size::FILE))[1];
    let places: Vec<f64> =
        curve.split(['M', 'L']).skip(1).map(|at| at.split(' ').next().unwrap().parse().unwrap()).collect();
    let [first, middle, last] = places[..] else { panic!("{curve}") };
    // Places are written to a tenth.
    assert!((middle - (first + last) / 2.0).abs() <= 0.1, "{places:?}");
}

#[test]
fn of_a_long_curve_the_highest_and_the_lowest_stay() {
    let mut long: Vec<(f64, f64)> = (0..50_000).map(|i| (f64::from(i), f64::from(i % 7))).collect();
    (long[20_000].1, long[30_001].1) = (100.0, -100.0);
    let svg = plot::file(&[chart(points(&long))], Size::FILE);
    assert!(svg.len() < 40_000, "{} bytes", svg.len());
    let curve = &drawn(&svg)[1];
    let y: Vec<f64> =
        curve.split(['M', 'L']).skip(1).map(|at| at.split(' ').nth(1).unwrap().parse().unwrap()).collect();
    let (top, bottom) = (y.iter().copied().fold(f64::MAX, f64::min), y.iter().copied().fold(f64::MIN, f64::max));
    let usual = y[10];
    assert!(usual - top > 100.0 && bottom - usual > 100.0, "{top} {usual} {bottom}");
}

#[test]
fn names_are_text_and_a_chart_says_in_words_what_it_shows() {
    let name = "</title><script>alert(1)</script>&\"'";
    let line = Line {
        name: Some(name.into()),
        style: Style::Dotted,
        points: vec![Point { x: 1.0, y: 2.5, error: Some(0.125) }, (4.0, 1.0).into()],
        ..Line::default()
    };
    let svg = plot::file(&[Chart { title: "Validation".into(), lines: vec![line], ..Chart::default() }], Size::FILE);
    assert!(!svg.contains("<script") && svg.contains("&lt;script&gt;"), "{svg}");
    assert!(svg.contains(": 2.5 ± 0.125 at 1</title>"), "{svg}");
    assert!(svg.contains("role=\"img\" aria-label=\"Validation."), "{svg}");
    assert!(svg.contains("2.5 at 1 to 1 at 4."), "{svg}");
}

#[test]
fn curves_of_a_run_are_its_metrics() {
    let folder = tempfile::tempdir().unwrap();
    let paths = RunPaths::of(folder.path());
    let refused = History::read(&paths).unwrap_err().to_string();
    assert!(refused.contains("metrics.jsonl: holds the loss of no step"), "{refused}");
    let mut lines: Vec<String> =
        (1..=100).map(|i| format!("{{\"step\":{i},\"loss\":{}.5,\"lr\":0.1}}", 100 - i)).collect();
    lines.push("{\"step\":50,\"seconds\":10.0}".into());
    lines.push("{\"step\":50,\"standard_error\":0.25,\"validation_nelbo_nats\":2.0}".into());
    lines.push("{\"step\":90,\"seconds\":50.0}".into());
    fs::write(paths.metrics(), lines.join("\n") + "\n{\"step\": 91, \"lo").unwrap();
    let history = History::read(&paths).unwrap();
    assert_eq!(history.losses.len(), 100);
    assert_eq!(history.validations, [vec![(50, 2.0, Some(0.25))], vec![]]);
    let seconds = [0, 25, 50, 60, 90, 91].map(|step| history.seconds(step));
    assert_eq!(seconds, [Some(0.0), Some(5.0), Some(10.0), Some(20.0), Some(50.0), None]);
    assert_eq!(averaged(&history.losses[..5], 2), [(1.5, 99.0), (3.5, 97.0), (5.0, 95.5)]);

    let runs = [Trained { name: "runs/1".into(), unit: "char", history }];
    let looks = Looks { over: Over::Seconds, ..Looks::default() };
    let found = charts(&runs, &[Figure::Loss, Figure::Validation], &looks).unwrap();
    // A hundredth of 100 steps is each of them; those after the last second have no place.
    assert_eq!(found[0].lines.len(), 1);
    let ends = [0, found[0].lines[0].points.len() - 1].map(|i| found[0].lines[0].points[i]);
    assert_eq!(ends, [(0.2, 99.5).into(), (50.0, 10.5).into()]);
    // The first twentieth, from second 0.2 to 50, is over at 2.69, and the next step, the 14th, is at 2.8.
    assert_eq!(found[0].y.most, Some(86.5));
    assert_eq!(found[1].lines[0].points, [Point { x: 10.0, y: 2.0, error: Some(0.25) }]);
    let smooth = charts(&runs, &[Figure::Loss], &Looks { smooth: Some(10), whole: true, ..Looks::default() }).unwrap();
    assert_eq!(smooth[0].lines.iter().map(|line| line.points.len()).collect::<Vec<_>>(), [100, 10]);
    assert_eq!((smooth[0].y.most, smooth[0].lines[1].points[0]), (None, (5.5, 95.0).into()));
    let refused = charts(&runs, &[Figure::Norm], &looks).unwrap_err().to_string();
    assert_eq!(refused, "runs/1: has no grad-norm of any step; leave it out of --show");
}
