//! Decimal digits of numbers, as words: a processor need not wait for them, as for those that it reads from
//! memory in larger pieces than it has written them in.

/// The least number of more than eight digits.
pub(super) const EIGHT: u64 = 100_000_000;

const ZEROS: u64 = u64::from_le_bytes([b'0'; 8]);

/// Returns the values of eight digits, the first one lowest. All are computed at once, as parts of one word.
#[inline]
fn values(number: u64) -> u64 {
    let quads = (number / 10_000) | ((number % 10_000) << 32);
    // Multiplying and shifting divides: exactly, for numbers of so many digits.
    let hundreds = ((quads * 10_486) >> 20) & 0x7f_0000_007f;
    let pairs = hundreds | (quads - hundreds * 100) << 16;
    let tens = ((pairs * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | (pairs - tens * 10) << 8
}

/// Returns the digits of a number below [`EIGHT`], zeros in front of it included, the first one lowest.
#[inline]
pub(super) fn eight_digits(number: u64) -> u64 {
    values(number) | ZEROS
}

/// Returns the digits of a number below [`EIGHT`], the first one lowest, and how many they are.
#[inline]
pub(super) fn leading_digits(number: u64) -> (u64, usize) {
    let values = values(number);
    // A zero has one.
    let zeros = (values.trailing_zeros() / 8).min(7);
    ((values | ZEROS) >> (8 * zeros), 8 - zeros as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_the_number() {
        let some = (0..EIGHT).step_by(9_973);
        for number in (0..20_000).chain(some).chain([EIGHT - 1]) {
            let text = number.to_string();
            let (digits, length) = leading_digits(number);
            assert_eq!(&digits.to_le_bytes()[..length], text.as_bytes());
            assert!(digits.to_le_bytes()[length..].iter().all(|byte| *byte == 0));
            assert_eq!(eight_digits(number).to_le_bytes(), *format!("{number:08}").as_bytes());
        }
    }
}
