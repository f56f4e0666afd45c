//! Text as a search compares it: without regard to case, accents and the width of white space (FHIR R4, section 3.1.1.4.9).

use std::borrow::Cow;
use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

/// The text in lower case, without combining marks (`é` and `å` are `e` and `a`; `æ` and `ø` are letters of their own), with
/// one space for each run of white space and none around. Two texts that a search takes for the same have the same.
pub fn fold(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase()) {
        return Cow::Borrowed(text);
    }
    let mut folded = String::with_capacity(text.len());
    let mut push = |c: char| {
        if !c.is_whitespace() {
            folded.push(c);
        } else if !folded.is_empty() && !folded.ends_with(' ') {
            folded.push(' ');
        }
    };
    if text.is_ascii() {
        text.chars().for_each(|c| push(c.to_ascii_lowercase()));
    } else {
        // Lower case first: the dot of a Turkish capital I is then a combining mark.
        let lower = text.chars().flat_map(char::to_lowercase);
        lower.nfkd().filter(|c| !is_combining_mark(*c)).flat_map(char::to_lowercase).for_each(&mut push);
    }
    folded.truncate(folded.trim_end().len());
    Cow::Owned(folded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn case_accents_and_spaces_do_not_count() {
        for (text, folded) in [
            ("peter", "peter"),
            ("Peter  van\tden Berg ", "peter van den berg"),
            ("  ÅSE Müller", "ase muller"),
            ("e\u{301}", "e"),
            ("Øygard", "øygard"),
            ("O'Brien-Hansen", "o'brien-hansen"),
            ("İ", "i"),
            ("", ""),
            ("  ", ""),
        ] {
            assert_eq!(fold(text), folded, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_folded_stays_as_it_is(text in ".{0,30}") {
            let once = fold(&text).into_owned();
            prop_assert_eq!(fold(&once), once.as_str());
        }
    }
}
