use dugnad_kernel::disclosure::Raw;

fn main() {
    // A cell is released with its table, by the rules about its neighbours and over its anchor: never by itself.
    let _ = dugnad_kernel::disclosure::release(&Raw::nobody());
}
