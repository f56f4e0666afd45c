//! Identifiers that have the shape of a fødselsnummer and can belong to nobody.

use jiff::civil::Date;

/// Administrative sex as the last digit of the individual number tells it: even for female, odd for male.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sex {
    /// `female` in FHIR.
    Female,
    /// `male` in FHIR.
    Male,
}

const FIRST_WEIGHTS: [u32; 9] = [3, 7, 6, 1, 8, 9, 4, 5, 2];
const SECOND_WEIGHTS: [u32; 10] = [5, 4, 3, 2, 7, 6, 5, 4, 3, 2];

/// A synthetic fødselsnummer: `DDMMYY` with 80 added to the month, an individual number, and two control digits (mod 11).
///
/// Month + 80 is the convention of the Norwegian Tax Administration for test persons (Tenor); the National Population
/// Register gives no such number to a living being. `individual` is 0..=999; `None` if that number does not exist for this
/// date and sex (wrong parity, wrong century) or one of its control digits would be 10.
pub fn synthetic_national_id(born: Date, sex: Sex, individual: u32) -> Option<String> {
    let century_fits = match born.year() {
        1900..=1939 => individual <= 499,
        1940..=1999 => individual <= 499 || (900..=999).contains(&individual),
        2000..=2039 => (500..=999).contains(&individual),
        _ => false,
    };
    let parity_fits = (individual % 2 == 1) == (sex == Sex::Male);
    if !century_fits || !parity_fits {
        return None;
    }
    let year = u32::from(born.year().unsigned_abs()) % 100;
    let text = format!("{:02}{:02}{year:02}{individual:03}", born.day(), born.month() + 80);
    let first = control_digit(&text, &FIRST_WEIGHTS)?;
    let text = format!("{text}{first}");
    let second = control_digit(&text, &SECOND_WEIGHTS)?;
    Some(format!("{text}{second}"))
}

/// Whether a text is a number that `synthetic_national_id` can give: eleven digits, month 81 to 92, both control digits right.
pub fn is_synthetic_national_id(text: &str) -> bool {
    let digits = text.len() == 11 && text.bytes().all(|byte| byte.is_ascii_digit());
    let month = text.get(2..4).and_then(|month| month.parse::<u32>().ok());
    digits
        && month.is_some_and(|month| (81..=92).contains(&month))
        && text.get(..9).and_then(|body| control_digit(body, &FIRST_WEIGHTS)) == digit_at(text, 9)
        && text.get(..10).and_then(|body| control_digit(body, &SECOND_WEIGHTS)) == digit_at(text, 10)
}

fn digit_at(text: &str, place: usize) -> Option<u32> {
    text.as_bytes().get(place).map(|byte| u32::from(byte.wrapping_sub(b'0')))
}

/// `None` where the digit would be 10: such numbers are not given out.
fn control_digit(digits: &str, weights: &[u32]) -> Option<u32> {
    let sum: u32 = digits.bytes().zip(weights).map(|(digit, weight)| u32::from(digit.wrapping_sub(b'0')) * weight).sum();
    match (11 - sum % 11) % 11 {
        10 => None,
        digit => Some(digit),
    }
}
