//! The fields that a row's type writes, as serde tells of them.

use serde::de::value::Error as Unused;
use serde::ser::{
    Impossible, Serialize, SerializeSeq, SerializeStruct, SerializeTuple, Serializer,
};

/// The names under which the first struct in `row` writes its fields, also those that it
/// leaves out this time. `None` if there is no struct.
pub(crate) fn fields<T: Serialize>(row: &T) -> Option<Vec<&'static str>> {
    row.serialize(Fields).ok().flatten()
}

type Names = Option<Vec<&'static str>>;

/// Notes the fields of a struct, and looks into what may be around one.
struct Fields;

macro_rules! nothing {
    ($($method:ident: $kind:ty),* $(,)?) => {$(
        fn $method(self, _value: $kind) -> Result<Names, Unused> {
            Ok(None)
        }
    )*};
}

impl Serializer for Fields {
    type Ok = Names;
    type Error = Unused;
    type SerializeSeq = First;
    type SerializeTuple = First;
    type SerializeTupleStruct = Impossible<Names, Unused>;
    type SerializeTupleVariant = Impossible<Names, Unused>;
    type SerializeMap = Impossible<Names, Unused>;
    type SerializeStruct = Struct;
    type SerializeStructVariant = Impossible<Names, Unused>;

    nothing! {
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32,
        serialize_i64: i64, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32,
        serialize_u64: u64, serialize_f32: f32, serialize_f64: f64, serialize_char: char,
        serialize_str: &str, serialize_bytes: &[u8], serialize_unit_struct: &'static str,
    }

    fn serialize_none(self) -> Result<Names, Unused> {
        Ok(None)
    }

    fn serialize_unit(self) -> Result<Names, Unused> {
        Ok(None)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Names, Unused> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<Names, Unused> {
        value.serialize(self)
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
    ) -> Result<Names, Unused> {
        Ok(None)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _value: &T,
    ) -> Result<Names, Unused> {
        Ok(None)
    }

    fn serialize_seq(self, _length: Option<usize>) -> Result<First, Unused> {
        Ok(First(None))
    }

    fn serialize_tuple(self, _length: usize) -> Result<First, Unused> {
        Ok(First(None))
    }

    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        _length: usize,
    ) -> Result<Self::SerializeTupleStruct, Unused> {
        Err(no_struct())
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _length: usize,
    ) -> Result<Self::SerializeTupleVariant, Unused> {
        Err(no_struct())
    }

    fn serialize_map(self, _length: Option<usize>) -> Result<Self::SerializeMap, Unused> {
        Err(no_struct())
    }

    fn serialize_struct(self, _name: &'static str, length: usize) -> Result<Struct, Unused> {
        Ok(Struct(Vec::with_capacity(length)))
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _length: usize,
    ) -> Result<Self::SerializeStructVariant, Unused> {
        Err(no_struct())
    }
}

fn no_struct() -> Unused {
    serde::ser::Error::custom("not a struct")
}

/// The names so far.
struct Struct(Vec<&'static str>);

impl SerializeStruct for Struct {
    type Ok = Names;
    type Error = Unused;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        _value: &T,
    ) -> Result<(), Unused> {
        self.0.push(name);
        Ok(())
    }

    /// `skip_serializing_if`; of `skip_serializing` nothing is told.
    fn skip_field(&mut self, name: &'static str) -> Result<(), Unused> {
        self.0.push(name);
        Ok(())
    }

    fn end(self) -> Result<Names, Unused> {
        Ok(Some(self.0))
    }
}

/// The names of the first element.
struct First(Names);

macro_rules! first {
    ($trait:ident) => {
        impl $trait for First {
            type Ok = Names;
            type Error = Unused;

            fn serialize_element<T: Serialize + ?Sized>(
                &mut self,
                element: &T,
            ) -> Result<(), Unused> {
                if self.0.is_none() {
                    self.0 = element.serialize(Fields)?;
                }
                Ok(())
            }

            fn end(self) -> Result<Names, Unused> {
                Ok(self.0)
            }
        }
    };
}

first!(SerializeSeq);
first!(SerializeTuple);
