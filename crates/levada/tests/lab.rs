//! The scenarios of examples/lab/, each with real processes on bad links, and what the lab says when one fails.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use serde_json::Value;

const LEVADA: &str = env!("CARGO_BIN_EXE_levada");
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/lab");
/// Tests share a machine: a gap that the machine makes is no failure of the mesh. What is lost is. Viewers are watched for longer
/// than the longest time that this allows, so each bound can be broken.
const SLACK: &str = "5";
/// Labs that run side by side: a mesh of debug builds takes about a core.
const SIDE_BY_SIDE: usize = 2;

/// Taken by whatever runs labs, so that no more do.
static CORES: RwLock<()> = RwLock::new(());

/// A test of one lab, beside others of one.
fn one_lab() -> RwLockReadGuard<'static, ()> {
    CORES.read().unwrap_or_else(PoisonError::into_inner)
}

/// A test that takes all the cores itself.
fn all_cores() -> RwLockWriteGuard<'static, ()> {
    CORES.write().unwrap_or_else(PoisonError::into_inner)
}

fn lab(args: &[&str]) -> Output {
    Command::new(LEVADA).args(["-q", "lab"]).args(args).stdin(Stdio::null()).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn written(dir: &tempfile::TempDir, name: &str, text: &str) -> String {
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Runs a script of one lab.
fn run(script: &str, args: &[&str]) -> Output {
    let _shares = one_lab();
    let dir = tempfile::tempdir().unwrap();
    lab(&[&["run", &written(&dir, "lab.toml", script)], args].concat())
}

#[test]
fn every_scenario_holds() {
    let _alone = all_cores();
    let mut files: Vec<PathBuf> = std::fs::read_dir(EXAMPLES).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "toml"));
    files.sort();
    assert!(files.len() >= 12, "{files:?}");
    let (waiting, failed) = (Mutex::new(files), Mutex::new(Vec::new()));
    // Those with leaves, which are muxers each, take more than a core: two of them would measure nothing but each other.
    let with_leaves = Mutex::new(());
    std::thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                loop {
                    let Some(file) = waiting.lock().unwrap().pop() else { return };
                    let has_leaves = std::fs::read_to_string(&file).unwrap().contains("\nleaves = ");
                    let _turn = has_leaves.then(|| with_leaves.lock().unwrap());
                    let output = lab(&["run", file.to_str().unwrap(), "--slack", SLACK]);
                    if !output.status.success() {
                        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
                        failed.lock().unwrap().push(format!("{}\n{shown}{}", file.display(), said(&output)));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} scenarios failed:\n{}", failed.len(), failed.join("\n"));
}

/// Everything that can be expected is expected in vain here, so that no check passes whatever is seen. Nobody speaks to n4, which is
/// not there, so of its link too little is heard to call it sealed.
const IN_VAIN: &str = r#"
about = "nothing of this is so"
links = ["s1-n1", "n1-n2", "n1-n3", "n3-n4"]
late = "n4"
viewers = "n2 cam"
always = ["switches n2 > 9"]

[[stream]]
name = "cam"
at = "s1"

[[step]]
when = "flows"
within = "3s"
expect = [
  "path cam n2 = s1 n3 n2",
  "path cam n2 != * n1 *",
  "backup cam n2 = n3",
  "idle n1",
  "idle s1-n1",
  "copies out n1 = 2",
  "copies in n1 = 3",
  "copies s1-n1 = 2",
  "copies n1-n3 = 1",
  "unlinked s1-n1",
  "linked s1-n3",
  "misses n2 s1",
  "streams n2 =",
  "origins cam n2 = n1",
  "waits n2 cam",
  "waits n4 cam",
  "traffic n1-n3 > 10Mbit/s",
  "flows n3",
  "lost > 0",
  "lost_audio > 0",
  "doubled > 0",
  "torn > 0",
  "gap > 1h",
  "recovery > 1h",
  "switches n2 > 9",
  "missed > 9",
  "memory < 1MB",
  "latency > 1h",
  "sealed n3-n4",
]
"#;

#[test]
fn what_is_not_so_is_told_with_what_is_seen() {
    let _shares = one_lab();
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| written(&dir, name, text);
    let report = dir.path().join("report.html");
    let output = lab(&["run", &write("in-vain.toml", IN_VAIN), "--json", "--report", report.to_str().unwrap()]);
    assert!(!output.status.success());
    let outcome: Value = serde_json::from_slice(&output.stdout).unwrap();
    let verdicts = outcome["steps"][0]["verdicts"].as_array().unwrap().iter();
    let verdicts: Vec<&Value> = verdicts.chain(outcome["always"].as_array().unwrap()).collect();
    assert_eq!(verdicts.len(), 30);
    for verdict in verdicts {
        assert_eq!(verdict["passed"], false, "{verdict}");
        assert!(!verdict["seen"].as_str().unwrap().is_empty(), "{verdict}");
    }
    let told = said(&output);
    assert!(told.contains("expected path cam n2 = s1 n3 n2; seen: s1 n1 n2"), "{told}");
    let page = std::fs::read_to_string(report).unwrap();
    assert!(page.contains("<svg") && page.contains("s1 n1 n2"), "the report shows what was seen");

    let output = lab(&["run", &write("typo.toml", &IN_VAIN.replace("idle n1\"", "idel n1\""))]);
    let told = said(&output);
    assert!(!output.status.success() && told.contains("idel") && told.contains("line 19"), "{told}");
    let output = lab(&["run", &write("nobody.toml", &IN_VAIN.replace("idle n1\"", "idle n7\""))]);
    assert!(said(&output).contains("there is no node n7"), "{}", said(&output));
}

#[test]
fn an_imported_topology_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let gml = dir.path().join("two.gml");
    let node =
        |id: u8, longitude: f64| format!("node [\nid {id}\nlabel \"N{id}\"\nLongitude {longitude}\nLatitude 40.0\n]\n");
    std::fs::write(&gml, format!("graph [\n{}{}edge [\nsource 0\ntarget 1\n]\n]\n", node(0, -74.0), node(1, -87.0)))
        .unwrap();
    let output = lab(&["import", gml.to_str().unwrap()]);
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(output.status.success() && text.contains("n0-n1 delay="), "{text}{}", said(&output));
    assert!(text.starts_with("about = \"two, imported: 2 nodes and 1 links\""), "{text}");
    let file = dir.path().join("two.toml");
    std::fs::write(&file, text).unwrap();
    // It is understood; it has no script.
    let output = lab(&["run", file.to_str().unwrap()]);
    assert!(said(&output).contains("no [[step]]"), "{}", said(&output));
}

/// Leaves that begin late, end in every way, begin again, and watch a stream whose name no node could have.
const LEAVES: &str = r#"
about = "leaves come and go"
links = ["s1-n1", "n1-{k1,k2}"]
leaves = ["k1", "k2"]
late = "k2"
viewers = ["k1 {cam,Film_1}", "k2 cam"]

[[stream]]
name = "cam"
at = "s1"

[[stream]]
name = "Film_1"
at = "s1"

[[step]]
when = "flows"
expect = ["path {cam,Film_1} k1 = s1 n1 k1", "flows k1 Film_1"]

[[step]]
do = "start k2"
expect = "flows k2 cam"

[[step]]
do = "stop k1"
expect = "idle n1-k1"

[[step]]
do = "start k1"
expect = ["flows k1 cam", "flows k1 Film_1"]

[[step]]
do = "restart k1"
expect = ["flows k1 cam", "flows k1 Film_1"]
"#;

#[test]
fn leaves_stop_start_and_restart() {
    let output = run(LEAVES, &["--slack", SLACK]);
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), said(&output));
}

/// The leaf is killed from outside, before the script starts it again.
const ENDED: &str = r#"
links = ["s1-n1", "n1-k1"]
leaves = "k1"
viewers = "k1 cam"

[[stream]]
name = "cam"
at = "s1"

[[step]]
when = "flows"
expect = "flows"

[[step]]
within = "60s"
expect = "idle n1-k1"

[[step]]
do = "start k1"
expect = "flows"
"#;

/// A node takes longer to start than what is expected of it has time, and less than its viewers are watched.
const TOO_LATE: &str = r#"
links = ["s1-n1"]
late = "n1"
viewers = "n1 cam"

[[stream]]
name = "cam"
at = "s1"

[[step]]
do = "start n1"
within = "100ms"
watch = "20s"
expect = "flows n1"
"#;

#[test]
fn what_comes_true_after_its_time_is_not_as_expected_however_long_viewers_are_watched() {
    let output = run(TOO_LATE, &[]);
    assert!(!output.status.success() && said(&output).contains("expected flows n1"), "{}", said(&output));
}

/// Ends on the signals that one is told to end with, in whatever a lab does.
#[cfg(target_os = "linux")]
#[test]
fn a_lab_that_is_told_to_end_leaves_nothing_behind() {
    let _shares = one_lab();
    let dir = tempfile::tempdir().unwrap();
    let script = CHAOS.to_owned() + "[[step]]\nafter = \"1h\"\nexpect = \"flows\"\n";
    let file = written(&dir, "long.toml", &script);
    let commands: [(&str, &[&str]); 3] = [("-TERM", &["run"]), ("-INT", &["chaos", "--for", "1h"]), ("-HUP", &["run"])];
    for (signal, args) in commands {
        let temporary = tempfile::tempdir().unwrap();
        let place = temporary.path().to_str().unwrap();
        let mut command = Command::new(LEVADA);
        command.arg("lab").args(args).arg(&file).env("TMPDIR", place).stdin(Stdio::null()).stdout(Stdio::null());
        let mut running = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(running.stderr.take().unwrap()).lines().map(Result::unwrap);
        // Told when all nodes run. The lab's nodes live below the directory, so their command lines name it.
        assert!(stderr.any(|line| line.starts_with("waiting until all links are known")));
        let node = process_of(&["node", "--until-stdin-closes", place]);
        assert!(Command::new("kill").args([signal, &running.id().to_string()]).status().unwrap().success());
        let told: Vec<String> = stderr.collect();
        assert!(told.iter().any(|line| line.contains("the lab was interrupted")), "{signal}: {told:#?}");
        assert_eq!(running.wait().unwrap().code(), Some(1), "{signal}");
        assert_eq!(std::fs::read_dir(place).unwrap().count(), 0, "{signal} leaves a directory");
        assert!(!std::path::Path::new(&format!("/proc/{node}")).exists(), "{signal} leaves a node");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_leaf_that_ends_by_itself_is_told_and_can_begin_anew() {
    let told = told_when_killed(ENDED, &["watch", "cam"]);
    assert!(told.contains("step 3/3") && told.contains("k1 ended by itself"), "{told}");
    assert!(!told.contains("expected flows") && !told.contains("cannot"), "{told}");
}

/// The node is killed from outside, before the script stops it.
#[cfg(target_os = "linux")]
const DIED: &str = r#"
links = ["s1-n1", "s1-n2"]
viewers = "n2 cam"

[[stream]]
name = "cam"
at = "s1"

[[step]]
when = "flows"
expect = "flows"

[[step]]
within = "60s"
expect = "misses s1 n1"

[[step]]
do = "stop n1"
expect = ["flows", "misses s1 n1"]
"#;

#[cfg(target_os = "linux")]
#[test]
fn a_node_that_ended_by_itself_is_told_even_if_the_script_stops_it() {
    let told = told_when_killed(DIED, &["node", "--name\0n1\0"]);
    assert!(told.contains("step 3/3") && told.contains("n1 ended by itself"), "{told}");
    assert!(!told.contains("expected") && !told.contains("cannot"), "{told}");
}

/// What is told of a lab of three steps, which fails, if the process with these arguments is killed in the second.
#[cfg(target_os = "linux")]
fn told_when_killed(lab: &str, process: &[&str]) -> String {
    let _shares = one_lab();
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(LEVADA);
    command.args(["lab", "run", &written(&dir, "lab.toml", lab)]).env("TMPDIR", dir.path());
    let mut run = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(run.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(stderr.any(|line| line.starts_with("step 2/3")));
    // The lab's nodes live below the directory, so their command lines name it.
    let pid = process_of(&[process, &[dir.path().to_str().unwrap()]].concat());
    assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
    let told = stderr.collect::<Vec<_>>().join("\n");
    assert!(!run.wait().unwrap().success());
    told
}

/// The process whose arguments hold all these words.
#[cfg(target_os = "linux")]
fn process_of(words: &[&str]) -> String {
    let line = |pid: &String| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let fits = |pid: &String| words.iter().all(|word| String::from_utf8_lossy(&line(pid)).contains(word));
    let pids = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    pids.filter(|pid| pid.parse::<u32>().is_ok()).find(fits).unwrap()
}

/// Videos of other rates than the test card's.
const RATES: &str = r#"
links = ["s1-n1"]
viewers = ["n1 {slow,quick}"]

[[stream]]
name = "slow"
at = "s1"
source = "15.mp4"

[[stream]]
name = "quick"
at = "s1"
source = "50.mp4"

[[step]]
when = "flows"
watch = "3s"
expect = ["flows", "lost = 0", "torn = 0"]
"#;

#[test]
fn frames_are_counted_by_the_cadence_of_their_video() {
    let _shares = one_lab();
    let dir = tempfile::tempdir().unwrap();
    for rate in ["15", "50"] {
        let pictures = format!("testsrc2=size=320x180:rate={rate}:duration=4");
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-v", "error", "-f", "lavfi", "-i", &pictures]);
        ffmpeg.args(["-c:v", "libx264", "-bf", "2", "-g", rate, "-pix_fmt", "yuv420p"]);
        assert!(ffmpeg.arg(dir.path().join(format!("{rate}.mp4"))).status().unwrap().success());
    }
    let file = written(&dir, "rates.toml", RATES);
    let output = lab(&["run", &file]);
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), said(&output));

    std::fs::write(dir.path().join("50.mp4"), "no video").unwrap();
    let told = said(&lab(&["run", &file]));
    assert!(told.contains("50.mp4 cannot be used"), "{told}");
}

/// A player loses its PoP, and comes back.
const AWAY: &str = r#"
links = ["s1-n1"]
viewers = "n1 cam"

[[stream]]
name = "cam"
at = "s1"

[[step]]
when = "flows"
do = "kill n1"

[[step]]
after = "5s"
do = "start n1"
expect = ["flows", "lost n1 > 50", "doubled = 0"]
"#;

#[test]
fn what_comes_while_a_player_is_away_is_lost() {
    let kept = tempfile::tempdir().unwrap();
    let output = run(AWAY, &["--keep", kept.path().to_str().unwrap(), "--record"]);
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{table}{}", said(&output));
    assert!(table.starts_with("in network namespaces") || table.starts_with("in loopback"), "{table}");
    // Each life of the node was recorded, also the one that a kill ended.
    for life in ["n1-1.jsonl", "n1-2.jsonl"] {
        let replay = Command::new(LEVADA).arg("replay").arg(kept.path().join(life)).output().unwrap();
        let told = String::from_utf8_lossy(&replay.stdout);
        assert!(replay.status.success() && told.contains("cam: fed by s1"), "{life}: {told}{}", said(&replay));
    }
}

/// A viewer whom nobody serves, and one who is not served any more: neither keeps a bound for want of pictures.
const UNSERVED: &str = r#"
links = ["s1-n1", "s1-n2"]
viewers = ["n1 cam", "n2 film"]
always = "lost n2 = 0"

[[stream]]
name = "cam"
at = "s1"

[[stream]]
name = "film"

[[step]]
when = "flows n1"
do = "cut s1-n1"
within = "6s"
expect = ["gap n1 < 3s", "lost n1 = 0", "recovery n1 < 3s", "{gap,recovery} n2 < 3s", "{lost,doubled} n2 = 0"]
"#;

#[test]
fn bounds_are_not_kept_for_want_of_pictures() {
    let output = run(UNSERVED, &["--json"]);
    let outcome: Value = serde_json::from_slice(&output.stdout).unwrap();
    let verdicts = outcome["steps"][0]["verdicts"].as_array().unwrap().iter();
    let verdicts: Vec<&Value> = verdicts.chain(outcome["always"].as_array().unwrap()).collect();
    assert_eq!(verdicts.len(), 8);
    assert!(verdicts.iter().all(|verdict| verdict["passed"] == false), "{verdicts:#?}");
    let told = said(&output);
    assert!(told.contains("n2 never got a picture of film") && told.contains("not known yet"), "{told}");
}

/// A line that makes sense only as long as the node does not run.
const UNDONE: &str = r#"
links = ["s1-n1"]
viewers = "n1 cam"
always = "doubled = 0"

[[stream]]
name = "cam"
at = "s1"

[[step]]
when = "flows"
expect = "flows"

[[step]]
do = "start n1"
expect = "flows"
"#;

#[test]
fn what_is_not_published_cannot_be_withdrawn() {
    let output = run(&UNDONE.replace("start n1", "withdraw n1 cam"), &[]);
    let told = said(&output);
    assert!(!output.status.success() && told.contains("n1 does not publish cam; publish it there first"), "{told}");
}

#[test]
fn a_line_that_cannot_be_done_fails_the_run_and_what_was_seen_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let report = dir.path().join("report.html");
    let output = run(UNDONE, &["--json", "--report", report.to_str().unwrap()]);
    assert!(!output.status.success());
    let outcome: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(outcome["steps"][0]["verdicts"][0]["passed"], true);
    assert_eq!((&outcome["always"][0]["passed"], &outcome["viewers"][0]["lost"]), (&true.into(), &0.into()));
    let told = said(&output);
    assert!(
        told.contains("step 2 (start n1): expected start n1 to be done; seen: ") && told.contains("runs"),
        "{told}"
    );
    assert!(std::fs::read_to_string(report).unwrap().contains("start n1 to be done"));

    let output = run(UNDONE, &["--report", dir.path().join("nowhere/report.html").to_str().unwrap()]);
    let told = said(&output);
    assert!(!output.status.success() && told.contains("cannot write the report"), "{told}");
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(table.contains("start n1 to be done: ") && told.contains("start n1 to be done"), "{table}{told}");
}

/// Two ways to each PoP, and a leaf that may take any of them.
const CHAOS: &str = r#"
links = ["s1-{a,b}", "{a,b}-{p1,p2}", "{p1,p2}-k1"]
link = "delay=5ms"
leaves = "k1"
viewers = ["{p1,p2,k1} cam"]

[[stream]]
name = "cam"
at = "s1"
"#;

#[test]
fn what_must_hold_holds_while_things_fail() {
    let _alone = all_cores();
    let dir = tempfile::tempdir().unwrap();
    let file = written(&dir, "chaos.toml", CHAOS);
    let output = lab(&["chaos", &file, "--seed", "4", "--for", "20s", "--json"]);
    let outcome: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success() && outcome["passed"] == true, "{outcome:#}");
    assert!(outcome["failures"].as_array().unwrap().len() >= 3, "{outcome:#}");
    assert!(outcome["looks"].as_u64().unwrap() >= 10, "{outcome:#}");
    let mode = outcome["mode"].as_str().unwrap();
    assert!(mode.starts_with("network namespaces") || mode.starts_with("loopback"), "{mode}");
}
