use super::*;
use crate::common::{brain, config};
use crate::id::NodeId;

/// A node that asked its parents over two links: for itself, and for a child.
fn asking() -> Node {
    let mut node = brain(config(NodeId([1; 32]), 1));
    for (id, asker, parent, seconds) in [(0, Asker::Local(7), 1, 2), (1, Asker::Child(LinkId(3), 9), 2, 4)] {
        let Ok(stream) = StreamName::new("cam") else { panic!("a name is refused") };
        let deadline = Time::ZERO + Duration::from_secs(seconds);
        node.traces.open.insert(id, Question { asker, stream, parent: LinkId(parent), deadline });
    }
    node
}

/// Who was answered, and with which nodes.
fn answers(node: &mut Node) -> Vec<(Asker, Vec<String>)> {
    let mut answers = Vec::new();
    while let Some(output) = node.poll_output() {
        if let Output::TraceAnswer { to, hops, .. } = output {
            answers.push((to, hops.into_iter().map(|hop| hop.name).collect()));
        }
    }
    answers
}

#[test]
fn a_question_without_an_answer_is_answered_with_what_is_known() {
    let mut node = asking();
    node.handle_timeout(Time::ZERO + Duration::from_secs(1));
    assert_eq!(answers(&mut node), []);
    node.handle_timeout(Time::ZERO + Duration::from_secs(2));
    assert_eq!(answers(&mut node), [(Asker::Local(7), vec!["own".to_owned()])]);
    node.handle_timeout(Time::ZERO + Duration::from_secs(9));
    assert_eq!(answers(&mut node), [(Asker::Child(LinkId(3), 9), vec!["own".to_owned()])]);
    assert!(node.traces.open.is_empty());
}

#[test]
fn who_asked_over_a_lost_link_is_forgotten_and_who_was_to_answer_is_not_waited_for() {
    let mut node = asking();
    node.traces_lose_link(LinkId(3));
    assert_eq!((answers(&mut node).len(), node.traces.open.len()), (0, 1));
    node.traces_lose_link(LinkId(1));
    assert_eq!(answers(&mut node), [(Asker::Local(7), vec!["own".to_owned()])]);
}

#[test]
fn who_is_further_up_gives_up_first() {
    let own = TRACE_HOPS_MAX as u32;
    assert_eq!(patience(own), PATIENCE);
    assert_eq!(patience(own - 1) + PATIENCE_STEP, PATIENCE);
    assert_eq!((patience(1), patience(0)), (PATIENCE_MIN, PATIENCE_MIN));
}
