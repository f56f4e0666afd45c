use dugnad_kernel::disclosure::Raw;

fn main() {
    println!("{}", Raw::nobody());
    println!("{:?}", Raw::nobody());
}
