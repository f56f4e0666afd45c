//! Decimals, exact as long as they fit: FHIRPath asks for 28 digits, these have 38.

use std::cmp::Ordering;

/// mantissa / 10^scale. The scale is kept as written: `1.10` has 2.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decimal {
    mantissa: i128,
    scale: u32,
}

/// More digits than any measurement has; keeps sums and comparisons of two decimals within `i128`.
const MAX_SCALE: u32 = 28;

/// Digits after the point that a division yields (FHIRPath N1 asks for 8).
const QUOTIENT_SCALE: u32 = 16;

impl Decimal {
    /// Reads a JSON or FHIRPath number. `None` if it has too many digits.
    pub(super) fn parse(text: &str) -> Option<Decimal> {
        let (digits, exponent) = match text.find(['e', 'E']) {
            Some(at) => (text.get(..at)?, text.get(at + 1..)?.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let mut mantissa: i128 = 0;
        let (negative, whole) = match whole.strip_prefix('-') {
            Some(whole) => (true, whole),
            None => (false, whole.strip_prefix('+').unwrap_or(whole)),
        };
        if whole.is_empty() {
            return None;
        }
        for digit in whole.bytes().chain(fraction.bytes()) {
            let digit = digit.checked_sub(b'0').filter(|d| *d < 10)?;
            mantissa = mantissa.checked_mul(10)?.checked_add(i128::from(digit))?;
        }
        let scale = i64::try_from(fraction.len()).ok()? - i64::from(exponent);
        let mantissa = if negative { -mantissa } else { mantissa };
        match u32::try_from(scale) {
            Ok(scale) => (scale <= MAX_SCALE).then_some(Decimal { mantissa, scale }),
            Err(_) => Some(Decimal { mantissa: mantissa.checked_mul(power(u32::try_from(-scale).ok()?)?)?, scale: 0 }),
        }
    }

    pub(super) fn integer(value: i64) -> Decimal {
        Decimal { mantissa: i128::from(value), scale: 0 }
    }

    /// Digits after the point.
    pub(super) fn scale(self) -> u32 {
        self.scale
    }

    fn at_scale(self, scale: u32) -> Option<i128> {
        self.mantissa.checked_mul(power(scale.checked_sub(self.scale)?)?)
    }

    fn aligned(self, other: Decimal) -> Option<(i128, i128, u32)> {
        let scale = self.scale.max(other.scale);
        Some((self.at_scale(scale)?, other.at_scale(scale)?, scale))
    }

    /// Numerical order.
    pub(super) fn compare(self, other: Decimal) -> Option<Ordering> {
        self.aligned(other).map(|(a, b, _)| a.cmp(&b))
    }

    pub(super) fn plus(self, other: Decimal) -> Option<Decimal> {
        let (a, b, scale) = self.aligned(other)?;
        Some(Decimal { mantissa: a.checked_add(b)?, scale })
    }

    pub(super) fn minus(self, other: Decimal) -> Option<Decimal> {
        self.plus(other.negated())
    }

    pub(super) fn times(self, other: Decimal) -> Option<Decimal> {
        let product = Decimal { mantissa: self.mantissa.checked_mul(other.mantissa)?, scale: self.scale + other.scale };
        Some(if product.scale > MAX_SCALE { product.rounded(MAX_SCALE)? } else { product })
    }

    /// `None` for a division by zero. Zeros at the end go.
    pub(super) fn divided_by(self, other: Decimal) -> Option<Decimal> {
        let (a, b, _) = self.aligned(other)?;
        if b == 0 {
            return None;
        }
        let quotient = Decimal { mantissa: a.checked_mul(power(QUOTIENT_SCALE + 1)?)?.checked_div(b)?, scale: QUOTIENT_SCALE + 1 };
        Some(quotient.rounded(QUOTIENT_SCALE)?.trimmed())
    }

    /// The whole part of the quotient, towards zero.
    pub(super) fn div(self, other: Decimal) -> Option<i64> {
        let (a, b, _) = self.aligned(other)?;
        i64::try_from(a.checked_div(b)?).ok()
    }

    /// What is left of the division, with the sign of the dividend.
    pub(super) fn modulo(self, other: Decimal) -> Option<Decimal> {
        let (a, b, scale) = self.aligned(other)?;
        Some(Decimal { mantissa: a.checked_rem(b)?, scale })
    }

    pub(super) fn negated(self) -> Decimal {
        Decimal { mantissa: -self.mantissa, scale: self.scale }
    }

    pub(super) fn abs(self) -> Decimal {
        Decimal { mantissa: self.mantissa.abs(), scale: self.scale }
    }

    /// The largest number of `scale` digits that is not above this one.
    pub(super) fn floor(self, scale: u32) -> Option<Decimal> {
        match self.scale.checked_sub(scale) {
            Some(digits) => Some(Decimal { mantissa: self.mantissa.checked_div_euclid(power(digits)?)?, scale }),
            None => Some(Decimal { mantissa: self.at_scale(scale)?, scale }),
        }
    }

    /// The smallest number of `scale` digits that is not below this one.
    pub(super) fn ceiling(self, scale: u32) -> Option<Decimal> {
        self.negated().floor(scale).map(Decimal::negated)
    }

    /// The nearest number of `scale` digits; halves go away from zero.
    pub(super) fn rounded(self, scale: u32) -> Option<Decimal> {
        let half = Decimal { mantissa: 5, scale: scale + 1 };
        if self.mantissa < 0 { self.minus(half)?.ceiling(scale) } else { self.plus(half)?.floor(scale) }
    }

    /// The whole part.
    pub(super) fn truncated(self) -> Option<i64> {
        self.div(Decimal::integer(1))
    }

    /// Half of the last digit's unit: 0.05 for 1.0.
    pub(super) fn half_unit(self) -> Decimal {
        Decimal { mantissa: 5, scale: self.scale + 1 }
    }

    /// The integer that it is, if it is one.
    pub(super) fn to_integer(self) -> Option<i64> {
        let unit = power(self.scale)?;
        (self.mantissa.checked_rem(unit)? == 0).then(|| i64::try_from(self.mantissa / unit).ok()).flatten()
    }

    /// The nearest number of the processor.
    pub(super) fn to_real(self) -> f64 {
        self.to_string().parse().unwrap_or(f64::NAN)
    }

    /// Without zeros at the end of the fraction.
    pub(super) fn trimmed(self) -> Decimal {
        let mut trimmed = self;
        while trimmed.scale > 0 && trimmed.mantissa % 10 == 0 {
            trimmed = Decimal { mantissa: trimmed.mantissa / 10, scale: trimmed.scale - 1 };
        }
        trimmed
    }
}

impl std::fmt::Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.mantissa < 0 { "-" } else { "" };
        let digits = self.mantissa.unsigned_abs();
        match power(self.scale).filter(|_| self.scale > 0) {
            None => write!(f, "{sign}{digits}"),
            Some(unit) => {
                let unit = unit.unsigned_abs();
                write!(f, "{sign}{}.{:0width$}", digits / unit, digits % unit, width = self.scale as usize)
            }
        }
    }
}

fn power(exponent: u32) -> Option<i128> {
    10_i128.checked_pow(exponent)
}
