//! Finds numbers that JSON does not have, and says in which field they stand. `serde_json` writes `null` for them.
//!
//! Nothing is built unless something is found: the path is put together on the way out.

use super::PayloadError;
use serde::ser::{
    self, Impossible, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant,
};
use std::fmt;

/// Whether JSON has all numbers of the value.
pub(super) fn check<T: Serialize + ?Sized>(value: &T) -> Result<(), PayloadError> {
    match value.serialize(Walk) {
        Ok(()) => Ok(()),
        Err(Found::Number { path, value }) => {
            let field: String = path.into_iter().rev().collect();
            let field = field.strip_prefix('.').unwrap_or(&field);
            let field = if field.is_empty() { "the value" } else { field }.to_owned();
            Err(PayloadError::NotFinite { field, value })
        }
        Err(Found::Other(text)) => Err(PayloadError::Write(ser::Error::custom(text))),
    }
}

#[derive(Debug)]
enum Found {
    /// Its path, the innermost part first.
    Number {
        path: Vec<String>,
        value: f64,
    },
    Other(String),
}

impl Found {
    fn within(mut self, part: impl FnOnce() -> String) -> Self {
        if let Found::Number { path, .. } = &mut self {
            path.push(part());
        }
        self
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Found::Number { value, .. } => value.fmt(f),
            Found::Other(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Found {}

impl ser::Error for Found {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Found::Other(text.to_string())
    }
}

type Checked = Result<(), Found>;

struct Walk;

macro_rules! harmless {
    ($($method:ident($kind:ty))*) => {$(
        fn $method(self, _: $kind) -> Checked {
            Ok(())
        }
    )*};
}

impl ser::Serializer for Walk {
    type Ok = ();
    type Error = Found;
    type SerializeSeq = Items;
    type SerializeTuple = Items;
    type SerializeTupleStruct = Items;
    type SerializeTupleVariant = Items;
    type SerializeMap = Fields;
    type SerializeStruct = Fields;
    type SerializeStructVariant = Fields;

    harmless! {
        serialize_bool(bool) serialize_char(char) serialize_str(&str) serialize_bytes(&[u8]) serialize_unit_struct(&'static str)
        serialize_i8(i8) serialize_i16(i16) serialize_i32(i32) serialize_i64(i64) serialize_i128(i128)
        serialize_u8(u8) serialize_u16(u16) serialize_u32(u32) serialize_u64(u64) serialize_u128(u128)
    }

    fn serialize_f32(self, value: f32) -> Checked {
        self.serialize_f64(value.into())
    }

    fn serialize_f64(self, value: f64) -> Checked {
        if value.is_finite() { Ok(()) } else { Err(Found::Number { path: Vec::new(), value }) }
    }

    fn serialize_none(self) -> Checked {
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Checked {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Checked {
        Ok(())
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Checked {
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Checked {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Checked {
        value.serialize(self).map_err(|found| found.within(|| format!(".{variant}")))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Items, Found> {
        Ok(Items { next: 0, variant: None })
    }

    fn serialize_tuple(self, _: usize) -> Result<Items, Found> {
        Ok(Items { next: 0, variant: None })
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Items, Found> {
        Ok(Items { next: 0, variant: None })
    }

    fn serialize_tuple_variant(self, _: &'static str, _: u32, variant: &'static str, _: usize) -> Result<Items, Found> {
        Ok(Items { next: 0, variant: Some(variant) })
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Fields, Found> {
        Ok(Fields::default())
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Fields, Found> {
        Ok(Fields::default())
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Fields, Found> {
        Ok(Fields { key: String::new(), variant: Some(variant) })
    }
}

/// What has places.
struct Items {
    next: usize,
    variant: Option<&'static str>,
}

impl Items {
    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Checked {
        let (place, variant) = (self.next, self.variant);
        self.next += 1;
        value.serialize(Walk).map_err(|found| found.within(|| variant_of(variant) + &format!("[{place}]")))
    }
}

fn variant_of(variant: Option<&str>) -> String {
    variant.map(|variant| format!(".{variant}")).unwrap_or_default()
}

macro_rules! items {
    ($($of:ident::$method:ident)*) => {$(
        impl $of for Items {
            type Ok = ();
            type Error = Found;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Checked {
                self.item(value)
            }

            fn end(self) -> Checked {
                Ok(())
            }
        }
    )*};
}
items! {
    SerializeSeq::serialize_element SerializeTuple::serialize_element
    SerializeTupleStruct::serialize_field SerializeTupleVariant::serialize_field
}

/// What has names.
#[derive(Default)]
struct Fields {
    key: String,
    variant: Option<&'static str>,
}

impl Fields {
    fn field<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Checked {
        let variant = self.variant;
        value.serialize(Walk).map_err(|found| found.within(|| variant_of(variant) + "." + key))
    }
}

impl SerializeMap for Fields {
    type Ok = ();
    type Error = Found;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Checked {
        // A key that is no text is refused, or turned into one, when the value is written.
        self.key = key.serialize(Key).unwrap_or_else(|_| "?".to_owned());
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Checked {
        self.field(&self.key, value)
    }

    fn end(self) -> Checked {
        Ok(())
    }
}

macro_rules! fields {
    ($($of:ident)*) => {$(
        impl $of for Fields {
            type Ok = ();
            type Error = Found;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Checked {
                self.field(key, value)
            }

            fn end(self) -> Checked {
                Ok(())
            }
        }
    )*};
}
fields! { SerializeStruct SerializeStructVariant }

/// The key of a map as text, where it is text or a whole number.
struct Key;

macro_rules! keys {
    ($($method:ident($kind:ty))*) => {$(
        fn $method(self, key: $kind) -> Result<String, Found> {
            Ok(key.to_string())
        }
    )*};
}

macro_rules! no_keys {
    ($($method:ident($($kind:ty),*) -> $made:ty;)*) => {$(
        fn $method(self, $(_: $kind),*) -> Result<$made, Found> {
            Err(no_key())
        }
    )*};
}

type Nothing = Impossible<String, Found>;

fn no_key() -> Found {
    Found::Other("no key".to_owned())
}

impl ser::Serializer for Key {
    type Ok = String;
    type Error = Found;
    type SerializeSeq = Nothing;
    type SerializeTuple = Nothing;
    type SerializeTupleStruct = Nothing;
    type SerializeTupleVariant = Nothing;
    type SerializeMap = Nothing;
    type SerializeStruct = Nothing;
    type SerializeStructVariant = Nothing;

    keys! {
        serialize_bool(bool) serialize_char(char) serialize_str(&str)
        serialize_i8(i8) serialize_i16(i16) serialize_i32(i32) serialize_i64(i64) serialize_i128(i128)
        serialize_u8(u8) serialize_u16(u16) serialize_u32(u32) serialize_u64(u64) serialize_u128(u128)
        serialize_f32(f32) serialize_f64(f64)
    }

    no_keys! {
        serialize_bytes(&[u8]) -> String;
        serialize_none() -> String;
        serialize_unit() -> String;
        serialize_unit_struct(&'static str) -> String;
        serialize_seq(Option<usize>) -> Nothing;
        serialize_tuple(usize) -> Nothing;
        serialize_tuple_struct(&'static str, usize) -> Nothing;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Nothing;
        serialize_map(Option<usize>) -> Nothing;
        serialize_struct(&'static str, usize) -> Nothing;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Nothing;
    }

    fn serialize_some<T: Serialize + ?Sized>(self, key: &T) -> Result<String, Found> {
        key.serialize(self)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<String, Found> {
        Ok(variant.to_owned())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, key: &T) -> Result<String, Found> {
        key.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<String, Found> {
        Err(no_key())
    }
}
