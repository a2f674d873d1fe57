//! Numbers among values of any type.

/// Returns the number that a value is, if it is one that is not negative: its digits are those that its
/// `Display` shows. Which type it is of is known when it is compiled.
#[inline]
pub(crate) fn as_number<Q>(value: &Q) -> Option<u64> {
    macro_rules! of_types {
        ($($type:ty)*) => {
            $(
                if let Ok(number) = castaway::cast!(value, &$type) {
                    return u64::try_from(*number).ok();
                }
            )*
        };
    }
    of_types! { u64 u32 usize i64 i32 u128 i128 isize u16 i16 u8 i8 }
    None
}

#[cfg(test)]
mod tests {
    use std::fmt::Display;

    use super::*;

    /// Its length is the number that it shows.
    struct Shown<'a>(&'a str);

    impl Display for Shown<'_> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            self.0.len().fmt(f)
        }
    }

    #[test]
    fn numbers_are_found_and_nothing_else() {
        assert_eq!(
            (as_number(&7_u64), as_number(&8_i32), as_number(&9_u8)),
            (Some(7), Some(8), Some(9))
        );
        assert_eq!((as_number(&u64::MAX), as_number(&-1_i64)), (Some(u64::MAX), None));
        assert_eq!((as_number(&u128::MAX), as_number(&i128::MIN)), (None, None));
        let text = String::from("seven");
        assert_eq!(
            (as_number(&text), as_number(&&*text), as_number(&Shown(&text))),
            (None, None, None)
        );
        assert_eq!((as_number(&&7_u64), as_number(&1.0), as_number(&'1')), (None, None, None));
    }
}
