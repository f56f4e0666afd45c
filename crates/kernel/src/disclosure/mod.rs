//! Statistical disclosure control of cells. No I/O.
