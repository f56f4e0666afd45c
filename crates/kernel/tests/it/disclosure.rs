//! What must not compile: the ways around disclosure control. (The documentation of `Raw` and `Released` has the same as
//! examples that do not compile; here the compiler's reasons are compared too.)

/// The compiler whose words the expected answers are in.
const COMPILER: &str = "rustc 1.95.";

#[test]
fn a_raw_cell_cannot_leave_and_a_released_cell_cannot_be_made() {
    if std::env::var_os("DUGNAD_UI_TESTS").is_none() {
        println!("skipped: it builds the kernel's dependencies once more; DUGNAD_UI_TESTS=1 runs it");
        return;
    }
    let version = std::process::Command::new("rustc").arg("--version").output().unwrap();
    if !String::from_utf8_lossy(&version.stdout).starts_with(COMPILER) {
        println!("skipped: the expected answers are those of {COMPILER}*");
        return;
    }
    trybuild::TestCases::new().compile_fail("tests/it/ui/*.rs");
}
