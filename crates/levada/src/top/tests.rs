//! What is drawn: of recorded answers, and of a running node.

use levada_node::http::{HttpConfig, Look, Operator, bind, serve};
use levada_node::trust::Authority;
use levada_node::{Node, NodeConfig};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent};

use super::*;

/// Answers of a node `b` that watches the stream of `a` while a viewer looks, and of which `c` has died.
const RECORDED: &str = include_str!("recorded.json");

fn recorded() -> Seen {
    let recorded: serde_json::Value = serde_json::from_str(RECORDED).unwrap();
    let part = |name: &str| recorded[name].clone();
    let log: Log = serde_json::from_value(part("log")).unwrap();
    Seen {
        status: serde_json::from_value(part("status")).unwrap(),
        streams: serde_json::from_value(part("streams")).unwrap(),
        map: serde_json::from_value(part("map")).unwrap(),
        pops: serde_json::from_value(part("pops")).unwrap(),
        entries: log.entries.into(),
        failure: None,
    }
}

fn drawn(seen: &Seen, desk: &mut Desk, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw::screen(frame, "http://b:8080", seen, desk)).unwrap();
    terminal.backend().to_string()
}

fn press(desk: &mut Desk, code: KeyCode) -> bool {
    desk.press(KeyEvent::from(code))
}

#[test]
fn every_table_shows_what_was_recorded() {
    let (seen, mut desk) = (recorded(), Desk::default());
    let screens = [
        ('1', &["STREAM", "cam", "watched", "Mbit/s", "Newest events"][..]),
        ('2', &["NEIGHBOUR", "in use", "topology", "WHY NOT", "down"]),
        ('3', &["FROM", "COST", "0.51 ms", "0.0 %"]),
        ('4', &["NODE", "origin,relay,pop", "this node", "link of"]),
        ('5', &["POP", "12 %"]),
        ('6', &["KIND", "link down", "node down", "cannot be reached any more"]),
    ];
    for (key, texts) in screens {
        assert!(press(&mut desk, KeyCode::Char(key)));
        let screen = drawn(&seen, &mut desk, 160, 30);
        for text in texts.iter().chain(&["b http://b:8080", "viewers 1", "q quit"]) {
            assert!(screen.contains(text), "{key}: {text} is not in\n{screen}");
        }
    }
}

#[test]
fn events_that_are_no_longer_kept_are_not_passed_over_in_silence() {
    let (mut seen, mut desk) = (recorded(), Desk { tab: 5, ..Desk::default() });
    assert!(!drawn(&seen, &mut desk, 160, 30).contains("no longer kept"));
    seen.entries.remove(2);
    assert!(drawn(&seen, &mut desk, 160, 30).contains("no longer kept"));
}

#[test]
fn keys_move_between_tables_and_rows() {
    let (seen, mut desk) = (recorded(), Desk::default());
    for key in [KeyCode::Tab, KeyCode::Right, KeyCode::BackTab] {
        press(&mut desk, key);
    }
    assert_eq!(TABS[desk.tab].0, Tab::Neighbours);
    press(&mut desk, KeyCode::Char('6'));
    for _ in 0..1_000 {
        press(&mut desk, KeyCode::Down);
        drawn(&seen, &mut desk, 100, 12);
    }
    assert_eq!(desk.rows[desk.tab].selected(), Some(seen.entries.len() - 1), "it ends at the last row");
    press(&mut desk, KeyCode::Home);
    assert_eq!(desk.rows[desk.tab].selected(), Some(0));
    for (key, stays) in [(KeyCode::Char('x'), true), (KeyCode::Char('q'), false), (KeyCode::Esc, false)] {
        assert_eq!(press(&mut desk, key), stays, "{key:?}");
    }
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert!(!desk.press(interrupt));
}

#[test]
fn any_size_can_be_drawn_and_nothing_at_all() {
    for (width, height) in [(1, 1), (20, 3), (80, 24), (300, 100)] {
        for tab in 0..TABS.len() {
            let mut desk = Desk { tab, ..Desk::default() };
            drawn(&recorded(), &mut desk, width, height);
            drawn(&Seen::default(), &mut desk, width, height);
        }
    }
    let failed = Seen { failure: Some("node b cannot be reached".to_owned()), ..recorded() };
    let screen = drawn(&failed, &mut Desk::default(), 100, 24);
    assert!(screen.contains("cannot be reached; trying again") && screen.contains("cam"), "{screen}");
}

#[tokio::test]
async fn a_running_node_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::open_or_create(&dir.path().join("ca")).unwrap();
    let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let node = Node::start(NodeConfig {
        identity: authority.enrol("solo", &dir.path().join("solo")).unwrap(),
        listen: "127.0.0.1:0".parse().unwrap(),
        advertise: Vec::new(),
        http_url: Some("http://solo:8080".to_owned()),
        light: false,
        neighbours: vec![levada_overlay::Neighbour {
            name: "away".to_owned(),
            addresses: vec!["127.0.0.1:1".to_owned()],
        }],
        children_max: None,
        egress_max_bps: None,
        viewers_max: None,
        record: None,
    });
    let operator = Operator::new("a-token-for-tests", Look::Token).unwrap();
    let config = HttpConfig { operator, media: None, upload_bytes_max: 0 };
    let server = serve(node.unwrap(), listener, config).unwrap();
    let url = format!("http://{}", server.address());

    let mut seen = Seen::default();
    seen.take(Told::at(&Client::new(&url).unwrap(), 0).await);
    assert!(seen.failure.as_ref().unwrap().contains("--operator-token-file"), "{seen:?}");
    let operator =
        crate::cli::OperatorArgs { operator_token: Some("a-token-for-tests".to_owned()), ..Default::default() };
    let client = Client::operated(&url, &operator).unwrap();
    seen.take(Told::at(&client, 0).await);
    assert_eq!(seen.failure, None);
    let mut desk = Desk::default();
    for (key, text) in [('1', "no streams yet"), ('2', "away"), ('4', "this node")] {
        press(&mut desk, KeyCode::Char(key));
        let screen = drawn(&seen, &mut desk, 140, 30);
        assert!(screen.contains(text) && screen.contains("solo "), "{text} is not in\n{screen}");
    }
    drop(server);
    seen.take(Told::at(&client, 0).await);
    assert!(seen.failure.is_some() && seen.status.is_some(), "what was seen stays");
}

/// It was stopped: the system still takes connections for it.
#[tokio::test(start_paused = true)]
async fn a_node_that_stands_still_keeps_nobody_waiting() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let mut seen = recorded();
    seen.take(Told::at(&Client::new(&url).unwrap(), 0).await);
    assert!(seen.failure.as_ref().unwrap().contains(&url), "{seen:?}");
    assert!(seen.status.is_some(), "what was seen stays");
}
