use dugnad_kernel::disclosure::Released;

fn main() {
    let _ = Released(7);
    let _ = Released::new(7);
    let _ = Released::default();
    let _ = Released::from(7_u64);
}
