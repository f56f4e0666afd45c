use dugnad_kernel::disclosure::{Method, Raw, release};

fn main() {
    let raw = Raw::nobody();
    // Releasing the same cell by two methods would show more than either.
    let _ = release(raw, &Method::threshold(5));
    let _ = release(raw, &Method::threshold(2));
}
