use dugnad_kernel::disclosure::Released;

fn main() {
    let _ = Released { persons: Some(7), rows: None, sum: None };
    let _ = Released::new(7);
    let _ = Released::kept(Some(7), None, None);
    let _ = Released::from(7_u64);
}
