//! Values as JSON that every reader takes for what they are.

use std::cell::Cell;
use std::fmt::Display;
use std::io;

use serde::Serialize;
use serde::ser::{self, Serializer};
use serde_json::ser::Formatter;

use crate::error::Error;

/// Readers with doubles take a whole number beyond this one for another.
const EXACT_MAX: u64 = 1 << 53;

/// The form of whole numbers beyond 2^53 in JSON. Readers with doubles, such as JavaScript, take such a number for
/// another one.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Bigint {
    /// The call fails.
    #[default]
    Error,
    /// Their digits are sent as a text.
    String,
}

/// Serializes a value; fails where JSON would change it.
pub(crate) fn text_of(value: &impl Serialize, bigint: Bigint) -> Result<String, Error> {
    let wrong = |error: &dyn Display| Error::argument(format!("invalid value: {error}"));
    let (mut bytes, has_null) = (Vec::new(), Cell::new(false));
    let formatter = Exact { bigint, has_null: &has_null, is_in_text: false };
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    value.serialize(&mut serializer).map_err(|error| wrong(&error))?;
    // serde_json writes NaN and infinities as `null`.
    if has_null.get() {
        value.serialize(Finite).map_err(|error| wrong(&error))?;
    }
    String::from_utf8(bytes).map_err(|error| wrong(&error))
}

/// The compact form of serde_json, apart from whole numbers beyond 2^53.
struct Exact<'a> {
    bigint: Bigint,
    has_null: &'a Cell<bool>,
    /// True within a text, such as a name that is a number.
    is_in_text: bool,
}

impl Exact<'_> {
    fn write<W: io::Write + ?Sized>(&self, writer: &mut W, is_exact: bool, number: impl Display) -> io::Result<()> {
        match self.bigint {
            _ if is_exact || self.is_in_text => write!(writer, "{number}"),
            Bigint::String => write!(writer, "\"{number}\""),
            Bigint::Error => {
                Err(io::Error::other(format!("{number} is beyond 2^53; send it as a text, or set Bigint::String")))
            }
        }
    }
}

impl Formatter for Exact<'_> {
    fn write_null<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.has_null.set(true);
        writer.write_all(b"null")
    }

    fn begin_string<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.is_in_text = true;
        writer.write_all(b"\"")
    }

    fn end_string<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.is_in_text = false;
        writer.write_all(b"\"")
    }

    fn write_i64<W: io::Write + ?Sized>(&mut self, writer: &mut W, value: i64) -> io::Result<()> {
        self.write(writer, value.unsigned_abs() <= EXACT_MAX, value)
    }

    fn write_u64<W: io::Write + ?Sized>(&mut self, writer: &mut W, value: u64) -> io::Result<()> {
        self.write(writer, value <= EXACT_MAX, value)
    }

    fn write_i128<W: io::Write + ?Sized>(&mut self, writer: &mut W, value: i128) -> io::Result<()> {
        self.write(writer, value.unsigned_abs() <= EXACT_MAX.into(), value)
    }

    fn write_u128<W: io::Write + ?Sized>(&mut self, writer: &mut W, value: u128) -> io::Result<()> {
        self.write(writer, value <= EXACT_MAX.into(), value)
    }
}

/// A serializer that fails at a number which is not finite.
struct Finite;

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NotFinite(String);

impl ser::Error for NotFinite {
    fn custom<T: Display>(message: T) -> Self {
        NotFinite(message.to_string())
    }
}

type Checked = Result<(), NotFinite>;

fn check(number: f64) -> Checked {
    if number.is_finite() { Ok(()) } else { Err(NotFinite(format!("{number} has no form as JSON"))) }
}

macro_rules! finite {
    ($($method:ident($($type:ty),*);)*) => {
        $(fn $method(self, $(_: $type),*) -> Checked {
            Ok(())
        })*
    };
}

macro_rules! begins {
    ($($method:ident($($type:ty),*);)*) => {
        $(fn $method(self, $(_: $type),*) -> Result<Finite, NotFinite> {
            Ok(Finite)
        })*
    };
}

impl Serializer for Finite {
    type Ok = ();
    type Error = NotFinite;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    finite! {
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
        serialize_char(char);
        serialize_str(&str);
        serialize_bytes(&[u8]);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(&'static str);
        serialize_unit_variant(&'static str, u32, &'static str);
    }

    begins! {
        serialize_seq(Option<usize>);
        serialize_tuple(usize);
        serialize_tuple_struct(&'static str, usize);
        serialize_tuple_variant(&'static str, u32, &'static str, usize);
        serialize_map(Option<usize>);
        serialize_struct(&'static str, usize);
        serialize_struct_variant(&'static str, u32, &'static str, usize);
    }

    fn serialize_f32(self, number: f32) -> Checked {
        check(number.into())
    }

    fn serialize_f64(self, number: f64) -> Checked {
        check(number)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Checked {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Checked {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Checked {
        value.serialize(self)
    }
}

macro_rules! parts {
    ($($compound:ident: $($method:ident($($name:ty)?)),*;)*) => {
        $(impl ser::$compound for Finite {
            type Ok = ();
            type Error = NotFinite;

            $(fn $method<T: Serialize + ?Sized>(&mut self, $(_: $name,)? value: &T) -> Checked {
                value.serialize(Finite)
            })*

            fn end(self) -> Checked {
                Ok(())
            }
        })*
    };
}

parts! {
    SerializeSeq: serialize_element();
    SerializeTuple: serialize_element();
    SerializeTupleStruct: serialize_field();
    SerializeTupleVariant: serialize_field();
    SerializeMap: serialize_key(), serialize_value();
    SerializeStruct: serialize_field(&'static str);
    SerializeStructVariant: serialize_field(&'static str);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Serialize)]
    enum Shape {
        Unit,
        One(f32),
        Two(f64, Option<f64>),
        Named { a: f64, b: () },
    }

    fn of(value: &impl Serialize) -> Result<String, String> {
        text_of(value, Bigint::Error).map_err(|error| format!("{} {}", error.code(), error.message()))
    }

    #[test]
    fn a_number_that_is_not_finite_is_an_error_at_any_depth() {
        assert_eq!(of(&f64::NAN), Err("argument invalid value: NaN has no form as JSON".to_owned()));
        assert!(of(&f32::INFINITY).is_err());
        assert!(of(&[Some(-f64::INFINITY)]).is_err());
        assert!(of(&("a", f64::NAN)).is_err());
        assert!(of(&BTreeMap::from([("a", vec![f64::NAN])])).is_err());
        assert!(of(&Shape::One(f32::NAN)).is_err());
        assert!(of(&Shape::Two(1.0, Some(f64::NAN))).is_err());
        assert!(of(&Shape::Named { a: f64::NAN, b: () }).is_err());
    }

    #[test]
    fn nothing_is_null() {
        assert_eq!(
            of(&(None::<f64>, (), serde_json::Value::Null, Shape::Unit)).as_deref(),
            Ok(r#"[null,null,null,"Unit"]"#)
        );
        assert_eq!(of(&Shape::Named { a: 1.5, b: () }).as_deref(), Ok(r#"{"Named":{"a":1.5,"b":null}}"#));
        assert_eq!(of(&Shape::Two(1.0, None)).as_deref(), Ok(r#"{"Two":[1.0,null]}"#));
    }

    #[test]
    fn a_whole_number_beyond_two_to_the_53rd_is_an_error_or_a_text() {
        let exact = (EXACT_MAX, -(EXACT_MAX as i64), 1e300, 7_u128);
        assert_eq!(of(&exact).as_deref(), Ok("[9007199254740992,-9007199254740992,1e+300,7]"));
        assert!(of(&(EXACT_MAX + 1)).is_err());
        assert!(of(&[-(EXACT_MAX as i64) - 1]).is_err());
        assert!(of(&u128::MAX).is_err());
        assert!(of(&i128::MIN).is_err());
        let texts = text_of(&(EXACT_MAX + 1, i64::MIN, 3), Bigint::String);
        assert_eq!(texts.as_deref(), Ok(r#"["9007199254740993","-9223372036854775808",3]"#));
    }

    #[test]
    fn a_name_may_be_any_number() {
        let named = BTreeMap::from([(u64::MAX, 1)]);
        assert_eq!(of(&named).as_deref(), Ok(r#"{"18446744073709551615":1}"#));
        assert_eq!(text_of(&named, Bigint::String).as_deref(), Ok(r#"{"18446744073709551615":1}"#));
    }
}
