//! What is known of a row besides its cells, in the two highest bits of its holder's number.
//!
//! Both are row-local: they follow from the version of the resource that the row shows. So they cost a scan one look at two bytes
//! a row, and nothing where no row of a segment has a mark.

use crate::ids::HolderId;

const WITHHELD: u16 = 1 << 15;
const FURTHER: u16 = 1 << 14;
const HOLDER: u16 = FURTHER - 1;

/// The highest number that a holder can have.
pub const MAX_HOLDER: u16 = HOLDER;

/// The marks of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks(u16);

impl Marks {
    /// No mark.
    pub const NONE: Marks = Marks(0);

    /// `withheld`: the record is labelled as restricted or very restricted (`meta.security` R or V). `further`: it names a Patient
    /// whose key no column of the row shows, so that nobody can see whether that person may be seen.
    pub fn new(withheld: bool, further: bool) -> Self {
        Self(if withheld { WITHHELD } else { 0 } | if further { FURTHER } else { 0 })
    }

    /// Whether it has any.
    pub fn any(self) -> bool {
        self.0 != 0
    }

    /// As a small number, for the tail log.
    pub(super) fn number(self) -> u8 {
        (self.0 >> 14) as u8
    }

    /// What [`Self::number`] gave.
    pub(super) fn of_number(number: u8) -> Self {
        Self(u16::from(number & 3) << 14)
    }

    /// Together with the holder, as a segment keeps it.
    pub(super) fn with(self, holder: HolderId) -> u16 {
        holder.0 & HOLDER | self.0
    }
}

/// Whether a kept number is of this holder.
pub(super) fn is_of(kept: u16, holder: HolderId) -> bool {
    kept & HOLDER == holder.0
}

/// Whether a kept number has a mark.
pub(super) fn is_marked(kept: u16) -> bool {
    kept & !HOLDER != 0
}

/// Whether one of them has. (Compiles to a loop over whole vector registers.)
pub(super) fn any_marked(kept: &[u16]) -> bool {
    is_marked(kept.iter().fold(0, |all, one| all | one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_and_its_marks_share_a_number() {
        for holder in [0, 1, MAX_HOLDER] {
            let holder = HolderId(holder);
            for (withheld, further) in [(false, false), (true, false), (false, true), (true, true)] {
                let marks = Marks::new(withheld, further);
                let kept = marks.with(holder);
                assert!(is_of(kept, holder) && !is_of(kept, HolderId(7)));
                assert_eq!(is_marked(kept), withheld || further);
                assert_eq!(any_marked(&[1, kept, 2]), marks.any());
                assert_eq!(Marks::of_number(marks.number()), marks);
            }
        }
    }
}
