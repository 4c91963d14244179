//! The page's player over a stand-in for nodes that breaks streams on request (web/tests/fake-node.mjs), in a real Chromium.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../../media/tests/common/tool.rs"]
mod tool;

use tokio::sync::Mutex;

/// One at a time: players are judged by their pace.
static ALONE: Mutex<()> = Mutex::const_new(());

async fn runs(script: &str) {
    let _alone = ALONE.lock().await;
    let path = format!("{}/../../web/tests/{script}", env!("CARGO_MANIFEST_DIR"));
    let (said, _) = tokio::task::spawn_blocking(move || tool::tool("node", &[&path])).await.unwrap();
    println!("{said}");
}

/// Another origin, another size, lost and late media, sockets that close, rubbish, a node that is down.
#[tokio::test]
async fn playback_goes_on_whatever_breaks() {
    runs("survive.mjs").await;
}

/// The PoP in use becomes lastingly worse: the page moves, and nothing is skipped. A stream that no PoP can give waits.
#[tokio::test]
async fn the_page_moves_for_the_better_and_waits_for_what_nobody_gives() {
    runs("better.mjs").await;
}

#[tokio::test]
async fn sound_alone_plays_and_what_cannot_be_decoded_is_named() {
    runs("odd.mjs").await;
}
