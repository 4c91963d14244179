use std::time::Duration;

use levada_overlay::NodeId;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn authority() -> (tempfile::TempDir, Authority) {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::open_or_create(dir.path()).unwrap();
    (dir, authority)
}

#[test]
fn a_token_reads_back_and_lets_its_node_in_once() {
    let (_dir, authority) = authority();
    let token: JoinToken = authority.mint_token(Some("porto"), HOUR).unwrap().to_string().parse().unwrap();
    let (porto, thief) = (NodeId([1; 32]), NodeId([2; 32]));
    assert_eq!(authority.redeem(&token, "porto", porto), Ok(()));
    assert_eq!(authority.redeem(&token, "porto", porto), Ok(()), "the same node may try again");
    assert_eq!(authority.redeem(&token, "porto", thief), Err(TokenError::Used { name: "porto".into() }));
    let other = authority.redeem(&token, "lisboa", porto);
    assert_eq!(other, Err(TokenError::OtherNode { for_name: "porto".into(), name: "lisboa".into() }));
}

#[test]
fn many_nodes_may_redeem_at_once() {
    let (_dir, authority) = authority();
    std::thread::scope(|scope| {
        for n in 0..16 {
            let authority = &authority;
            scope.spawn(move || {
                let token = authority.mint_token(None, HOUR).unwrap();
                assert_eq!(authority.redeem(&token, "porto", NodeId([n; 32])), Ok(()));
                assert!(authority.redeem(&token, "porto", NodeId([99; 32])).is_err());
            });
        }
    });
}

#[test]
fn bad_tokens_are_refused_with_their_reason() {
    let (_dir, authority) = authority();
    let (_other_dir, other) = self::authority();
    let redeem = |token: &JoinToken| authority.redeem(token, "porto", NodeId([1; 32]));
    assert_eq!("levada1.garbage!".parse::<JoinToken>(), Err(TokenError::Malformed));
    assert_eq!("".parse::<JoinToken>(), Err(TokenError::Malformed));
    assert_eq!(redeem(&other.mint_token(None, HOUR).unwrap()), Err(TokenError::Foreign));
    assert_eq!(redeem(&authority.mint_token(None, Duration::ZERO).unwrap()), Err(TokenError::Expired));
    let mut forged = authority.mint_token(Some("lisboa"), HOUR).unwrap();
    forged.name = Some("porto".into());
    assert_eq!(redeem(&forged), Err(TokenError::Forged));
}

#[test]
fn the_ca_and_its_ledger_survive_a_restart() {
    let (dir, authority) = authority();
    let token = authority.mint_token(None, HOUR).unwrap();
    authority.redeem(&token, "porto", NodeId([1; 32])).unwrap();
    let again = Authority::open_or_create(dir.path()).unwrap();
    assert_eq!(again.fingerprint(), authority.fingerprint());
    assert!(matches!(again.redeem(&token, "porto", NodeId([2; 32])), Err(TokenError::Used { .. })));
}

#[test]
fn an_identity_is_kept_and_its_credential_checks() {
    let (_dir, authority) = authority();
    let dir = tempfile::tempdir().unwrap();
    assert!(Identity::load(dir.path()).unwrap().is_none());
    let key = identity::load_or_create_key(dir.path()).unwrap();
    let id = identity::key_id(&key).unwrap();
    let issued = authority.issue(id, "porto", HOUR).unwrap();
    Identity::new(key, issued, authority.certificate().clone()).unwrap().save(dir.path()).unwrap();
    let identity = Identity::load(dir.path()).unwrap().unwrap();
    assert_eq!((identity.id(), identity.name()), (id, "porto"));
    assert!(verify_credential(authority.public_key(), id, &identity.credential));
    assert!(!verify_credential(authority.public_key(), NodeId([9; 32]), &identity.credential));
    assert!(verify(id, b"water", &identity.sign(b"water")));
    assert!(!verify(id, b"fire", &identity.sign(b"water")));
}

#[test]
fn a_damaged_identity_names_the_file_and_the_mend() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("enrolment.json"), "{").unwrap();
    let error = Identity::load(dir.path()).unwrap_err().to_string();
    assert!(error.contains("enrolment.json") && error.contains("enrol the node again"), "{error}");
}
