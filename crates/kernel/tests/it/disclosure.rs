//! What must not compile: the way around disclosure control.

#[test]
fn a_raw_cell_cannot_leave_and_a_released_cell_cannot_be_made() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/it/ui/*.rs");
}
