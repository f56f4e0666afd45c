use dugnad_kernel::disclosure::Raw;

fn main() {
    let raw = Raw::nobody();
    println!("{}", raw.persons);
    let Raw { persons } = raw;
    println!("{persons}");
}
