use dugnad_kernel::disclosure::Raw;

fn main() {
    let raw = Raw::nobody();
    println!("{}", raw.persons.len());
    let Raw { persons, .. } = raw;
    drop(persons);
}
