//! Asks serde whether a value is `None`.

use std::fmt;

use serde_core::ser::{Impossible, Serialize, Serializer};

/// Is the value `None`?
pub(crate) fn is_none<T: Serialize + ?Sized>(value: &T) -> bool {
    value.serialize(Nothing).is_ok()
}

/// Takes `None`, and refuses everything else at once.
struct Nothing;

type Refused = Result<(), fmt::Error>;
type Never = Impossible<(), fmt::Error>;

macro_rules! refused {
    ($($method:ident($($value:ty),*);)*) => {
        $(
            fn $method(self, $(_: $value),*) -> Refused {
                Err(fmt::Error)
            }
        )*
    };
}

macro_rules! never {
    ($($method:ident($($value:ty),*);)*) => {
        $(
            fn $method(self, $(_: $value),*) -> Result<Never, fmt::Error> {
                Err(fmt::Error)
            }
        )*
    };
}

impl Serializer for Nothing {
    type Ok = ();
    type Error = fmt::Error;
    type SerializeSeq = Never;
    type SerializeTuple = Never;
    type SerializeTupleStruct = Never;
    type SerializeTupleVariant = Never;
    type SerializeMap = Never;
    type SerializeStruct = Never;
    type SerializeStructVariant = Never;

    fn serialize_none(self) -> Refused {
        Ok(())
    }

    refused! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_i128(i128);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_u128(u128);
        serialize_f32(f32);
        serialize_f64(f64);
        serialize_char(char);
        serialize_str(&str);
        serialize_bytes(&[u8]);
        serialize_unit();
        serialize_unit_struct(&'static str);
        serialize_unit_variant(&'static str, u32, &'static str);
    }

    never! {
        serialize_seq(Option<usize>);
        serialize_tuple(usize);
        serialize_tuple_struct(&'static str, usize);
        serialize_tuple_variant(&'static str, u32, &'static str, usize);
        serialize_map(Option<usize>);
        serialize_struct(&'static str, usize);
        serialize_struct_variant(&'static str, u32, &'static str, usize);
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _value: &T) -> Refused {
        Err(fmt::Error)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _value: &T,
    ) -> Refused {
        Err(fmt::Error)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _value: &T,
    ) -> Refused {
        Err(fmt::Error)
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, _value: &T) -> Refused {
        Err(fmt::Error)
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::is_none;

    #[test]
    fn only_none_is_none() {
        assert!(is_none(&None::<u8>));
        assert!(is_none(&Box::new(None::<String>)));
        assert!(!is_none(&Some(None::<u8>)));
        assert!(!is_none(&()) && !is_none(&0) && !is_none("") && !is_none(&Vec::<u8>::new()));
        assert!(!is_none(&std::net::Ipv4Addr::LOCALHOST));
    }
}
