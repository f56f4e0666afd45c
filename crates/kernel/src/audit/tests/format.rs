//! The files' formats: names of tiles, notes, records. Expected values were computed by another program.

use super::super::note::{Checkpoint, NoteError, VerifierKey};
use super::super::record::{self, Flaw};
use super::super::tile::{Tile, TileKind};
use super::super::{commitment, empty_root};
use super::{ORIGIN, signing_key, verifier};
use proptest::prelude::*;

const VKEY: &str = "dugnad.example/audit+cc80b807+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4";
const NOTE: &str = "dugnad.example/audit\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n\u{2014} dugnad.example/audit \
     zIC4B4Rse/1R9SFrlykpwdbxBMrsPSw7QLyD5J3Syb/flhWns6w2rGaD8gOBMU3nuVLM0P5BivFPMFDs80pMPEdV0wI=\n";

#[test]
fn names_of_tiles_are_those_of_the_specification() {
    assert_eq!(Tile::full(TileKind::Hashes(0), 0).path(), "tile/0/000");
    assert_eq!(Tile::full(TileKind::Hashes(3), 1_234_067).path(), "tile/3/x001/x234/067");
    assert_eq!(Tile::full(TileKind::Entries, 1000).path(), "tile/entries/x001/000");
    let partials: Vec<String> = Tile::partials(300).iter().map(Tile::path).collect();
    assert_eq!(partials, ["tile/entries/001.p/44", "tile/0/001.p/44", "tile/1/000.p/1"]);
    assert_eq!(Tile::partials(0), []);
    assert_eq!(Tile::partials(65_536).iter().map(Tile::path).collect::<Vec<_>>(), ["tile/2/000.p/1"]);
}

#[test]
fn other_names_are_no_tiles() {
    let names = [
        "",
        "checkpoint",
        "tile",
        "tile/",
        "tile/0",
        "tile/0/",
        "tile/0/00",
        "tile/0/0000",
        "tile/0/1",
        "tile/00/000",
        "tile/+0/000",
        "tile/8/000",
        "tile/64/000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/+1",
        "tile/0/000.p",
        "tile/0/000/",
        "tile/0//000",
        "tile/0/x000/001",
        "tile/0/001/002",
        "tile/0/x001/x002",
        "tile/0/xx01/000",
        "tile/../0/000",
        "tile/0/../000",
        "tile/entries/../../keys",
        "../tile/0/000",
        "/tile/0/000",
        "tile/0/000 ",
        "tile\\0\\000",
        "tile/Entries/000",
        "entries.log",
        "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
    ];
    for name in names {
        assert_eq!(Tile::parse(name), None, "{name}");
    }
}

proptest! {
    #[test]
    fn names_are_read_as_they_are_written(level in 0u8..8, index in any::<u64>(), width in 1u16..=256, entries: bool) {
        let kind = if entries { TileKind::Entries } else { TileKind::Hashes(level) };
        let full = Tile::full(kind, index).path();
        let path = if width == 256 { full } else { format!("{full}.p/{width}") };
        let tile = Tile::parse(&path);
        prop_assert_eq!(tile.map(|tile| (tile.kind(), tile.index(), tile.width())), Some((kind, index, usize::from(width))));
        prop_assert_eq!(tile.map(|tile| tile.path()), Some(path));
    }

    #[test]
    fn no_name_is_a_panic(name in ".{0,40}", digits in "tile/(0|entries)/[x0-9/.p]{0,40}") {
        for name in [name, digits] {
            if let Some(tile) = Tile::parse(&name) {
                prop_assert_eq!(tile.path(), name);
            }
        }
    }
}

#[test]
fn a_note_and_a_key_are_those_that_another_program_makes() {
    let checkpoint = Checkpoint { origin: ORIGIN.into(), size: 0, root: empty_root() };
    assert_eq!(verifier().to_string(), VKEY);
    assert_eq!(VerifierKey::parse(VKEY), Ok(verifier()));
    assert_eq!(checkpoint.sign(&signing_key()).unwrap(), NOTE);
    assert_eq!(Checkpoint::open(NOTE, &verifier()), Ok(checkpoint));
}

#[test]
fn every_changed_bit_of_a_note_or_key_is_refused() {
    for (text, accepts) in [(NOTE, true), (VKEY, false)] {
        for at in 0..text.len() * 8 {
            let mut bytes = text.as_bytes().to_vec();
            bytes[at / 8] ^= 1 << (at % 8);
            let Ok(changed) = String::from_utf8(bytes) else { continue };
            let accepted = if accepts { Checkpoint::open(&changed, &verifier()).is_ok() } else { VerifierKey::parse(&changed).is_ok() };
            assert!(!accepted, "bit {at}: {changed:?}");
        }
        for length in 0..text.len() {
            let Some(shorter) = text.get(..length) else { continue };
            assert!(Checkpoint::open(shorter, &verifier()).is_err() && VerifierKey::parse(shorter).is_err(), "{shorter:?}");
        }
    }
}

#[test]
fn signatures_of_witnesses_are_passed_over() {
    let witnessed = format!("{NOTE}\u{2014} witness.example AAAAAAAA\n");
    assert!(Checkpoint::open(&witnessed, &verifier()).is_ok());
    let (text, _) = NOTE.split_once("\n\n").unwrap();
    let only_witness = format!("{text}\n\n\u{2014} witness.example AAAAAAAA\n");
    assert!(matches!(Checkpoint::open(&only_witness, &verifier()), Err(NoteError::Unsigned(_))));
    let many = format!("{NOTE}{}", "\u{2014} witness.example AAAAAAAA\n".repeat(200));
    assert!(Checkpoint::open(&many, &verifier()).is_err());
}

#[test]
fn a_name_that_breaks_a_note_is_refused() {
    for name in ["", "a b", "a+b", "a\nb", "a\tb", "a\u{a0}b"] {
        assert!(matches!(VerifierKey::new(name, signing_key().verifying_key()), Err(NoteError::Name(_))), "{name:?}");
    }
}

#[test]
fn the_commitment_is_the_one_that_another_program_computes() {
    let salt: Vec<u8> = (0..32).collect();
    let hash = commitment(&salt.try_into().unwrap(), b"{\"a\":1}");
    let hex: String = hash.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "1f465532a9cf182f1db5e287e61808f150238a64d6b72bdae4e84549fff89c27");
}

#[test]
fn a_record_is_read_as_it_was_written_and_no_other_bytes_are_one() {
    let mut bytes = Vec::new();
    let made = record::encode(&mut bytes, 7, 5, &[9; 32], b"{\"user\":\"a\"}");
    assert_eq!(record::encoded_len(12), bytes.len() as u64);
    let read = record::read(&mut bytes.as_slice()).unwrap().unwrap().unwrap();
    assert_eq!((read.index, read.group, read.salt, read.json.as_slice(), read.commitment), (7, 5, [9; 32], &b"{\"user\":\"a\"}"[..], made));
    assert_eq!(record::read(&mut [].as_slice()).unwrap(), None);
    for length in 1..bytes.len() {
        assert_eq!(record::read(&mut &bytes[..length]).unwrap(), Some(Err(Flaw::Short)), "{length}");
    }
    for at in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[at / 8] ^= 1 << (at % 8);
        assert!(record::read(&mut changed.as_slice()).unwrap().unwrap().is_err(), "bit {at}");
    }
}

#[test]
fn a_later_group_is_found_behind_a_flaw() {
    let mut rest = b"garbage \xffDE1 garbage".to_vec();
    record::encode(&mut rest, 8, 5, &[1; 32], b"{}");
    assert!(!record::later_group_follows(&rest, 7), "the same group: its sync never ended");
    record::encode(&mut rest, 9, 9, &[1; 32], b"{}");
    assert!(record::later_group_follows(&rest, 7));
    assert!(!record::later_group_follows(&rest[..rest.len() - 1], 7));
}
