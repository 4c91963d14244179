//! The small scenarios of examples/sim/, and what scenarios promise: the same seed gives the same bytes, broken
//! expectations are told, and what cannot be run says why.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};

use levada_sim::report::Outcome;
use levada_sim::run;
use levada_sim::scenario::{Scenario, ScenarioError};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/sim")
}

fn scenario(text: &str) -> Scenario {
    toml::from_str(text).unwrap()
}

fn play(text: &str, seed: u64) -> Outcome {
    run(&scenario(text), Path::new("scenario.toml"), seed, None).unwrap()
}

const LINE: &str = r#"
    duration = "5s"
    warm_up = "3s"
    topology = { kind = "line", nodes = 3, link = { delay = "10ms" } }
    streams = [{ name = "cam", origins = ["n0"] }]
    subscribers = [{ nodes = ["n2"], at = "1s" }]
"#;

#[test]
fn small_scenarios_hold() {
    let mut played = 0;
    for entry in std::fs::read_dir(examples()).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("small-")) {
            let scenario = Scenario::read(&path).unwrap();
            for seed in 1..=2 {
                let outcome = run(&scenario, &path, seed, None).unwrap();
                let repeat = format!("levada sim {} --seed {seed}", path.display());
                assert!(outcome.passed, "{repeat}\n{:#?}\n{:#?}", outcome.violations, outcome.unmet);
            }
            played += 1;
        }
    }
    assert!(played >= 6, "{played} scenarios found");
}

#[test]
fn all_scenarios_are_understood() {
    for entry in std::fs::read_dir(examples()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            Scenario::read(&path).unwrap();
        }
    }
}

#[test]
fn same_seed_same_bytes() {
    let path = examples().join("small-churn.toml");
    let scenario = Scenario::read(&path).unwrap();
    let json = |seed| {
        let outcome = run(&scenario, &path, seed, None).unwrap();
        (outcome.measures.trace.clone(), serde_json::to_string(&outcome).unwrap())
    };
    assert_eq!(json(3), json(3));
    assert_ne!(json(3), json(4));
}

/// Handing messages over as values changes nothing but the lengths that a few of them are taken to have.
#[test]
fn values_do_what_the_codec_does() {
    let measures = |pass: bool| {
        let mut measures = play(&format!("pass_values = {pass}\n{LINE}"), 1).measures;
        (measures.trace, measures.record_bytes_per_s, measures.record_bytes_per_s_busiest) = (String::new(), 0.0, 0.0);
        measures
    };
    assert_eq!(measures(true), measures(false));
}

#[test]
fn broken_expectations_are_told() {
    let outcome = play(&format!("{LINE}\n[expect]\ndelivered_max = 10\npath_hops = 2"), 1);
    assert!(!outcome.passed);
    assert_eq!(outcome.unmet.len(), 1, "{:?}", outcome.unmet);
    assert!(outcome.unmet[0].contains("expected at most 10"), "{:?}", outcome.unmet);
}

/// Negative control: a reader that is cut off for longer than logs reach back has lost objects, and is excused; one that
/// merely has a bad link is not behind.
#[test]
fn a_reader_without_any_way_is_excused() {
    let cut = play(&format!("{LINE}\nat = [{{ t = \"1s\", do = \"cut n0-n1\" }}]\n[expect]\nbehind = 0"), 1);
    assert!(cut.passed, "{:?}", cut.unmet);
    assert!(cut.measures.delivered < 250 && cut.measures.stalls == 0, "{:?}", cut.measures);
}

/// Negative control: a death that nobody can route around within a second is an interruption, and counts as one.
#[test]
fn an_interruption_is_measured() {
    let path = examples().join("small-diamond.toml");
    let measures = run(&Scenario::read(&path).unwrap(), &path, 1, None).unwrap().measures;
    assert_eq!((measures.interruptions, measures.switches, measures.subtrees), (1, 1, 1));
    assert!(measures.interruption_max_ms > 50.0, "{measures:?}");
}

#[test]
fn nodes_may_start_one_after_the_other() {
    let text = LINE.replace("warm_up = \"3s\"", "warm_up = \"12s\"\nstart_over = \"2s\"");
    let outcome = play(&text.replace("at = \"1s\"", "at = \"10s\"").replace("[\"n0\"]", "[\"n0\"], at = \"8s\""), 1);
    assert!(outcome.measures.delivered > 200 && outcome.measures.behind == 0, "{:?}", outcome.measures);
}

#[test]
fn a_slow_link_makes_readers_late() {
    let narrow = LINE.replace(r#"delay = "10ms""#, r#"delay = "10ms", rate = "3Mbit/s""#);
    assert!(play(&narrow, 1).measures.late_max_ms > 100.0);
    assert!(play(LINE, 1).measures.late_max_ms < 5.0);
}

/// A link that is wide enough for one stream of two: the broad one is late over it, the narrow one is not.
#[test]
fn each_stream_has_its_own_bitrate() {
    let late_ms = |read: &str| {
        let text = LINE.replace(r#"delay = "10ms""#, r#"delay = "10ms", rate = "3Mbit/s""#).replace(
            r#"[{ name = "cam", origins = ["n0"] }]"#,
            r#"[{ name = "cam", origins = ["n0"] }, { name = "thumb", origins = ["n0"], bitrate = "200kbit/s" }]"#,
        );
        let readers = format!(r#"nodes = ["n2"], stream = "{read}""#);
        play(&text.replace(r#"nodes = ["n2"]"#, &readers), 1).measures.late_max_ms
    };
    assert!(late_ms("cam") > 100.0);
    assert!(late_ms("thumb") < 50.0);
}

#[test]
fn events_are_written_on_request() {
    let path = std::env::temp_dir().join(format!("levada-sim-{}.txt", std::process::id()));
    let file = std::fs::File::create(&path).unwrap();
    run(&scenario(LINE), Path::new("scenario.toml"), 1, Some(Box::new(std::io::BufWriter::new(file)))).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(text.lines().any(|line| line.contains("Object")), "{} lines", text.lines().count());
}

#[test]
fn what_cannot_be_run_says_why() {
    let error = |text: &str| run(&scenario(text), Path::new("scenario.toml"), 1, None).unwrap_err();
    let cities = LINE.replace(
        r#"kind = "line", nodes = 3, link = { delay = "10ms" }"#,
        r#"kind = "geographic", nodes = 30, degree = "3-5", cities = "no-such-file.bin""#,
    );
    let missing = error(&cities);
    assert!(matches!(missing, ScenarioError::Missing { .. }), "{missing}");
    assert!(missing.to_string().contains("not part of this project"), "{missing}");
    let unknown = error(&format!("{LINE}\n[expect]\nhapiness_min = 1"));
    assert!(unknown.to_string().contains("nothing is measured"), "{unknown}");
    let nowhere = error(&format!("{LINE}\nat = [{{ t = \"1s\", do = \"crash n7\" }}]"));
    assert!(nowhere.to_string().contains("no node n7"), "{nowhere}");
    assert!(toml::from_str::<Scenario>(&format!("{LINE}\nat = [{{ t = \"1s\", do = \"explode n1\" }}]")).is_err());
    let other = LINE.replace("nodes = [\"n2\"]", "nodes = [\"n2\"], stream = \"kam\"");
    for mistyped in [other, format!("{LINE}\nat = [{{ t = \"1s\", do = \"watch n1 kam\" }}]")] {
        let unknown = error(&mistyped);
        assert!(unknown.to_string().contains("nobody publishes kam; there are: cam"), "{unknown}");
    }
    let early = error(&format!("start_over = \"5s\"\n{LINE}"));
    assert!(early.to_string().contains("nodes start until 5s"), "{early}");
}
