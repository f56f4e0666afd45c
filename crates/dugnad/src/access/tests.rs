#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use dugnad_kernel::clock::ManualClock;
use jiff::{Timestamp, ToSpan as _};
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn request(user: &str) -> TokenRequest {
    TokenRequest { user: user.into(), role: Role::Authority, holder: None, subject: None, valid_for: 30.days() }
}

fn store(dir: &Path) -> (Tokens, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(at("2026-01-01T00:00:00Z")));
    (Tokens::open_with(dir, clock.clone()).unwrap(), clock)
}

#[test]
fn a_token_tells_whose_it_is_until_it_expires() {
    let dir = tempfile::tempdir().unwrap();
    let (tokens, clock) = store(dir.path());
    let token = tokens.issue(&request("authority")).unwrap();
    assert!(token.starts_with("dgn_") && token.len() == 4 + 43, "{token}");
    let principal = Principal::new("authority", Role::Authority, None);
    assert_eq!(tokens.authenticate(&token).unwrap(), Some(principal.clone()));
    clock.set(at("2026-01-30T23:59:59Z"));
    assert_eq!(tokens.authenticate(&token).unwrap(), Some(principal));
    clock.set(at("2026-01-31T00:00:00Z"));
    assert_eq!(tokens.authenticate(&token).unwrap(), None);
    assert_eq!(tokens.revoke("authority").unwrap(), 0, "an expired token is not a valid one");
}

#[test]
fn every_role_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (tokens, _) = store(dir.path());
    for role in [Role::Hospital, Role::Authority, Role::Company, Role::Centre, Role::Patient] {
        let holder = (role == Role::Hospital).then(|| "Haukeland universitetssjukehus".to_owned());
        let token = tokens.issue(&TokenRequest { role, holder: holder.clone(), ..request("someone") }).unwrap();
        let principal = tokens.authenticate(&token).unwrap().unwrap();
        assert_eq!((principal.role, principal.holder, principal.inside_spe), (role, holder, false));
    }
}

#[test]
fn what_is_no_token_belongs_to_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let (tokens, _) = store(dir.path());
    let token = tokens.issue(&request("authority")).unwrap();
    let cut = &token[..token.len() - 1];
    let long = format!("{token}{}", "A".repeat(1 << 20));
    let upper = token.to_uppercase();
    for wrong in ["", "dgn_", "' OR 1=1 --", cut, &long, &upper, &token[4..], &format!(" {token}")] {
        assert_eq!(tokens.authenticate(wrong).unwrap(), None);
    }
}

#[test]
fn a_revocation_by_another_process_is_seen_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (server, _) = store(dir.path());
    let (tool, _) = store(dir.path());
    let (first, second, other) = (tool.issue(&request("company")), tool.issue(&request("company")), tool.issue(&request("authority")));
    let (first, second, other) = (first.unwrap(), second.unwrap(), other.unwrap());
    for token in [&first, &second, &other] {
        assert!(server.authenticate(token).unwrap().is_some());
    }
    assert_eq!(tool.revoke("company").unwrap(), 2);
    assert_eq!(server.authenticate(&first).unwrap(), None);
    assert_eq!(server.authenticate(&second).unwrap(), None);
    assert!(server.authenticate(&other).unwrap().is_some());
    assert_eq!(tool.revoke("company").unwrap(), 0);
    let again = server.issue(&request("company")).unwrap();
    assert!(tool.authenticate(&again).unwrap().is_some(), "revoking does not bar the user from new tokens");
}

#[test]
fn tokens_outlive_the_process_and_are_in_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let token = store(dir.path()).0.issue(&request("authority")).unwrap();
    let (tokens, _) = store(dir.path());
    assert!(tokens.authenticate(&token).unwrap().is_some());
    for item in fs::read_dir(dir.path()).unwrap() {
        let path = item.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        assert!(!bytes.windows(20).any(|window| token.as_bytes().windows(20).any(|part| part == window)), "{path:?}");
        #[cfg(unix)]
        assert!(!open_to_others(&fs::metadata(&path).unwrap()), "{path:?}");
    }
}

#[test]
fn a_request_that_cannot_be_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (tokens, _) = store(dir.path());
    let wrong = [
        TokenRequest { role: Role::Hospital, ..request("h") },
        TokenRequest { holder: Some("H".into()), ..request("a") },
        TokenRequest { role: Role::Hospital, holder: Some(" ".into()), ..request("h") },
        request(""),
        request("a\nb"),
        request(&"a".repeat(201)),
        TokenRequest { valid_for: 0.days(), ..request("a") },
        TokenRequest { valid_for: -1.days(), ..request("a") },
        TokenRequest { valid_for: 19_000.years(), ..request("a") },
    ];
    for request in wrong {
        assert!(matches!(tokens.issue(&request), Err(AccessError::Request(_))), "{request:?}");
    }
}

/// A refused request changes nothing; a taken one is on the record with whom it is about.
#[test]
fn a_patient_is_named_with_their_token_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let (tokens, _) = store(dir.path());
    let of = |patient: &str| Some(("Haukeland".to_owned(), patient.to_owned()));
    let asked = |patient: &str| TokenRequest { role: Role::Patient, subject: of(patient), ..request("kari") };
    tokens.issue(&asked("1")).unwrap();
    assert_eq!(tokens.subject("kari").unwrap(), of("1"));
    assert!(tokens.issue(&TokenRequest { valid_for: 0.days(), ..asked("999") }).is_err());
    assert!(tokens.issue(&TokenRequest { role: Role::Authority, ..asked("999") }).is_err());
    assert_eq!(tokens.subject("kari").unwrap(), of("1"));
    tokens.bind("kari", Some(("Haukeland", "2"))).unwrap();
    tokens.bind("kari", None).unwrap();
    assert_eq!(tokens.subject("kari").unwrap(), None);
    let recorded: Vec<String> = tokens.unrecorded().unwrap().into_iter().filter_map(|(_, entry)| entry.request).collect();
    assert_eq!(recorded.len(), 3, "{recorded:?}");
    assert!(recorded.iter().take(2).all(|request| request.contains("Patient of Haukeland")), "{recorded:?}");
}

#[test]
fn somebody_stands_behind_what_goes_on_for_a_while_and_no_token_comes_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let (tokens, clock) = store(dir.path());
    let holds = |holder: &str| tokens.holds("ola", Role::Hospital, holder).unwrap();
    let hours = |n: u64| Duration::from_secs(n * 3_600);
    tokens.stand("ola", "Haukeland", hours(2)).unwrap();
    assert!(holds("Haukeland") && !holds("Ullevaal"));
    assert_eq!(tokens.authenticate("standing\nola\nHaukeland").unwrap(), None);
    clock.set(at("2026-01-01T02:00:00Z"));
    assert!(!holds("Haukeland"));
    tokens.stand("ola", "Haukeland", hours(2)).unwrap();
    tokens.stand("ola", "Haukeland", hours(9)).unwrap();
    clock.set(at("2026-01-01T10:00:00Z"));
    assert!(holds("Haukeland"));
    assert_eq!(tokens.revoke("ola").unwrap(), 1, "one row for each user and holder");
    assert!(!holds("Haukeland"));
}

#[test]
fn keys_are_made_once_and_for_their_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let first = Keys::open(dir.path()).unwrap();
    let second = Keys::open(dir.path()).unwrap();
    assert_eq!((first.audit.to_bytes(), first.pseudonym), (second.audit.to_bytes(), second.pseudonym));
    assert_ne!(first.audit.to_bytes(), first.pseudonym);
    assert_eq!(first.release.to_bytes(), second.release.to_bytes());
    assert_ne!(first.release.to_bytes(), first.audit.to_bytes(), "a key of its own");
    let elsewhere = tempfile::tempdir().unwrap();
    assert_ne!(Keys::open(elsewhere.path()).unwrap().pseudonym, first.pseudonym);
    let names: Vec<String> = fs::read_dir(dir.path()).unwrap().map(|item| item.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(names, ["keys"], "nothing unfinished is left");
}

#[test]
fn threads_that_make_keys_at_once_get_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let made: Vec<[u8; 32]> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| Keys::open(dir.path()).unwrap().pseudonym)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(made.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_missing_short_or_open_key_is_an_error_and_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    Keys::open(dir.path()).unwrap();
    let path = dir.path().join("keys/pseudonym");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..31]).unwrap();
    assert!(matches!(Keys::open(dir.path()), Err(AccessError::Key { .. })));
    fs::write(&path, &whole).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Keys::open(dir.path()), Err(AccessError::Key { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    Keys::open(dir.path()).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(matches!(Keys::open(dir.path()), Err(AccessError::Key { .. })));
    assert!(!path.exists());
}

/// Before the log's key was ever changed the release key follows from it; after that it is a secret of its own.
#[test]
fn a_release_key_that_is_lost_after_a_rotation_is_not_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let first = Keys::open(dir.path()).unwrap().release;
    let rotate = |keys: Keys| {
        keys.rotate_audit(dir.path(), |_, _, put| {
            fs::create_dir_all(dir.path().join("audit")).unwrap();
            fs::write(dir.path().join("audit/rotations"), "one\n").unwrap();
            put().unwrap();
            Ok(())
        })
    };
    rotate(Keys::open(dir.path()).unwrap()).unwrap();
    assert_eq!(Keys::open(dir.path()).unwrap().release.to_bytes(), first.to_bytes());
    fs::remove_file(dir.path().join("keys/release.ed25519")).unwrap();
    assert!(matches!(Keys::open(dir.path()), Err(AccessError::Key { path, .. }) if path.ends_with("release.ed25519")));
}

/// What a lookup costs: `cargo test -p dugnad --lib -- --ignored --nocapture lookups_per_second`.
#[test]
#[ignore = "a measurement, not a check; prints its figure"]
fn lookups_per_second() {
    let dir = tempfile::tempdir().unwrap();
    let (tokens, _) = store(dir.path());
    let issued: Vec<String> = (0..100).map(|number| tokens.issue(&request(&format!("user-{number}"))).unwrap()).collect();
    let begin = Instant::now();
    let count = 100_000;
    for token in issued.iter().cycle().take(count) {
        assert!(tokens.authenticate(token).unwrap().is_some());
    }
    println!("{:.1} us a lookup", begin.elapsed().as_secs_f64() * 1e6 / count as f64);
}
