use dugnad_kernel::disclosure::Raw;

fn main() {
    let _ = serde_json::to_string(&Raw::nobody());
}
