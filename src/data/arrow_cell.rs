//! Owns reading one value out of an Arrow array, of any type: as a cell, and as JSON where it is nested.
//!
//! Numbers keep all their digits. Dates and times are ISO 8601: an instant in UTC (`Z`), a local time without
//! a zone. Bytes that are no text are hexadecimal. A map is an object.

use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    ArrowTemporalType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type,
    DecimalType, DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType,
    DurationSecondType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    IntervalDayTimeType, IntervalMonthDayNanoType, IntervalYearMonthType, Time32MillisecondType,
    Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, downcast_dictionary_array, downcast_run_array};
use arrow_schema::{DataType, IntervalUnit, TimeUnit};

use super::cell::{Cell, json_text};

/// The value in a row.
pub(super) fn cell(array: &dyn Array, row: usize) -> Cell {
    if array.is_null(row) {
        return Cell::Null;
    }
    match array.data_type() {
        DataType::Boolean => Cell::Bool(array.as_boolean().value(row)),
        DataType::Dictionary(..) => match key(array, row) {
            Some(key) => cell(array.as_any_dictionary().values(), key),
            None => Cell::Null,
        },
        DataType::RunEndEncoded(..) => downcast_run_array!(
            array => cell(array.values(), array.get_physical_index(row)),
            _ => Cell::Null
        ),
        kind if kind.is_numeric() => Cell::Number(number(array, row)),
        kind if kind.is_temporal() => Cell::Text(time(array, row)),
        kind if kind.is_nested() => nested(array, row),
        _ => bytes(array, row).map_or(Cell::Null, |bytes| match std::str::from_utf8(bytes) {
            Ok(text) if is_text(array.data_type()) => Cell::Text(text.to_owned()),
            _ => Cell::Text(hexadecimal(bytes)),
        }),
    }
}

/// The value in a row where a text is asked for: bytes too are a text, if they are UTF-8; where they stop
/// being it is the error.
pub(super) fn text(array: &dyn Array, row: usize) -> Result<Cell, usize> {
    let (array, row) = match key(array, row) {
        Some(key) => (&**array.as_any_dictionary().values(), key),
        None => (array, row),
    };
    match bytes(array, row).filter(|_| array.is_valid(row)) {
        Some(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Cell::Text(text.to_owned())),
            Err(error) => Err(error.valid_up_to()),
        },
        None => Ok(cell(array, row)),
    }
}

/// Bytes that a value takes, roughly.
pub(super) fn size(array: &dyn Array, row: usize) -> usize {
    if array.is_null(row) {
        return 0;
    }
    match array.data_type() {
        DataType::Dictionary(..) => {
            key(array, row).map_or(0, |key| size(array.as_any_dictionary().values(), key))
        }
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => {
            list(array, row).map_or(0, |values| (0..values.len()).map(|place| size(&values, place)).sum())
        }
        DataType::Struct(_) => array.as_struct().columns().iter().map(|column| size(column, row)).sum(),
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            (0..entries.len()).map(|place| size(&entries, place)).sum()
        }
        _ => bytes(array, row).map_or(8, <[u8]>::len),
    }
}

fn is_text(kind: &DataType) -> bool {
    matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// The bytes of a text or of bytes.
fn bytes(array: &dyn Array, row: usize) -> Option<&[u8]> {
    match array.data_type() {
        DataType::Utf8 => Some(array.as_string::<i32>().value(row).as_bytes()),
        DataType::LargeUtf8 => Some(array.as_string::<i64>().value(row).as_bytes()),
        DataType::Utf8View => Some(array.as_string_view().value(row).as_bytes()),
        DataType::Binary => Some(array.as_binary::<i32>().value(row)),
        DataType::LargeBinary => Some(array.as_binary::<i64>().value(row)),
        DataType::BinaryView => Some(array.as_binary_view().value(row)),
        DataType::FixedSizeBinary(_) => Some(array.as_fixed_size_binary().value(row)),
        _ => None,
    }
}

/// Where a dictionary's value lies; none for null, and for what is no dictionary.
fn key(array: &dyn Array, row: usize) -> Option<usize> {
    downcast_dictionary_array!(array => array.key(row), _ => None)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn value<T: ArrowPrimitiveType>(array: &dyn Array, row: usize) -> T::Native {
    array.as_primitive::<T>().value(row)
}

fn decimal<T: DecimalType>(array: &dyn Array, row: usize) -> String {
    array.as_primitive::<T>().value_as_string(row)
}

/// A number's digits, as JSON writes them.
fn number(array: &dyn Array, row: usize) -> String {
    match array.data_type() {
        DataType::Int8 => value::<Int8Type>(array, row).to_string(),
        DataType::Int16 => value::<Int16Type>(array, row).to_string(),
        DataType::Int32 => value::<Int32Type>(array, row).to_string(),
        DataType::Int64 => value::<Int64Type>(array, row).to_string(),
        DataType::UInt8 => value::<UInt8Type>(array, row).to_string(),
        DataType::UInt16 => value::<UInt16Type>(array, row).to_string(),
        DataType::UInt32 => value::<UInt32Type>(array, row).to_string(),
        DataType::UInt64 => value::<UInt64Type>(array, row).to_string(),
        DataType::Float16 => short_half(value::<Float16Type>(array, row)),
        DataType::Float32 => float(value::<Float32Type>(array, row)),
        DataType::Float64 => float(value::<Float64Type>(array, row)),
        DataType::Decimal32(..) => decimal::<Decimal32Type>(array, row),
        DataType::Decimal64(..) => decimal::<Decimal64Type>(array, row),
        DataType::Decimal128(..) => decimal::<Decimal128Type>(array, row),
        DataType::Decimal256(..) => decimal::<Decimal256Type>(array, row),
        other => unreachable!("{other} is no number: this is a bug"),
    }
}

/// The shortest digits that are this number and no other of its type; a fraction shows that it is a float.
fn float<F: serde::Serialize + ToString>(number: F) -> String {
    match serde_json::to_string(&number) {
        Ok(digits) if digits != "null" => digits,
        _ => number.to_string(),
    }
}

fn short_half(number: half::f16) -> String {
    let exact = f32::from(number);
    // Five digits tell any two f16 apart.
    let short = (0..5)
        .map(|digits| format!("{exact:.digits$e}"))
        .find_map(|text| text.parse::<f32>().ok().filter(|parsed| half::f16::from_f32(*parsed) == number));
    float(short.unwrap_or(exact))
}

/// A date, a time, both, or a length of time, as ISO 8601 writes it. What is beyond the calendar stays the
/// number that it is.
fn time(array: &dyn Array, row: usize) -> String {
    match array.data_type() {
        DataType::Date32 => {
            let dates = array.as_primitive::<Date32Type>();
            dates.value_as_date(row).map_or_else(|| dates.value(row).to_string(), |date| date.to_string())
        }
        DataType::Date64 => instant::<Date64Type>(array, row, false),
        DataType::Timestamp(unit, zone) => match unit {
            TimeUnit::Second => instant::<TimestampSecondType>(array, row, zone.is_some()),
            TimeUnit::Millisecond => instant::<TimestampMillisecondType>(array, row, zone.is_some()),
            TimeUnit::Microsecond => instant::<TimestampMicrosecondType>(array, row, zone.is_some()),
            TimeUnit::Nanosecond => instant::<TimestampNanosecondType>(array, row, zone.is_some()),
        },
        DataType::Time32(TimeUnit::Second) => time_of_day::<Time32SecondType>(array, row),
        DataType::Time32(_) => time_of_day::<Time32MillisecondType>(array, row),
        DataType::Time64(TimeUnit::Microsecond) => time_of_day::<Time64MicrosecondType>(array, row),
        DataType::Time64(_) => time_of_day::<Time64NanosecondType>(array, row),
        DataType::Duration(unit) => match unit {
            TimeUnit::Second => seconds(value::<DurationSecondType>(array, row), 0),
            TimeUnit::Millisecond => seconds(value::<DurationMillisecondType>(array, row), 3),
            TimeUnit::Microsecond => seconds(value::<DurationMicrosecondType>(array, row), 6),
            TimeUnit::Nanosecond => seconds(value::<DurationNanosecondType>(array, row), 9),
        },
        DataType::Interval(IntervalUnit::YearMonth) => {
            format!("P{}M", value::<IntervalYearMonthType>(array, row))
        }
        DataType::Interval(IntervalUnit::DayTime) => {
            let length = value::<IntervalDayTimeType>(array, row);
            format!("P{}D{}", length.days, &seconds(length.milliseconds.into(), 3)[1..])
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let length = value::<IntervalMonthDayNanoType>(array, row);
            format!("P{}M{}D{}", length.months, length.days, &seconds(length.nanoseconds, 9)[1..])
        }
        other => unreachable!("{other} is no time: this is a bug"),
    }
}

fn instant<T: ArrowTemporalType>(array: &dyn Array, row: usize, in_utc: bool) -> String
where
    i64: From<T::Native>,
{
    let instants = array.as_primitive::<T>();
    match instants.value_as_datetime(row) {
        Some(time) => format!("{}{}", time.format("%Y-%m-%dT%H:%M:%S%.f"), if in_utc { "Z" } else { "" }),
        None => i64::from(instants.value(row)).to_string(),
    }
}

fn time_of_day<T: ArrowTemporalType>(array: &dyn Array, row: usize) -> String
where
    i64: From<T::Native>,
{
    let times = array.as_primitive::<T>();
    match times.value_as_time(row) {
        Some(time) => time.format("%H:%M:%S%.f").to_string(),
        None => i64::from(times.value(row)).to_string(),
    }
}

/// `PT1.5S`, from a number of units of which 10^`digits` are a second.
fn seconds(units: i64, digits: usize) -> String {
    let sign = if units < 0 { "-" } else { "" };
    let padded = format!("{:0>width$}", units.unsigned_abs(), width = digits + 1);
    let (whole, fraction) = padded.split_at(padded.len() - digits);
    match fraction.trim_end_matches('0') {
        "" => format!("PT{sign}{whole}S"),
        fraction => format!("PT{sign}{whole}.{fraction}S"),
    }
}

/// A list, an object, or what else holds values.
fn nested(array: &dyn Array, row: usize) -> Cell {
    let mut out = Vec::new();
    write_nested(array, row, &mut out);
    Cell::Json(String::from_utf8(out).expect("JSON was written as UTF-8: anything else is a bug"))
}

fn write_nested(array: &dyn Array, row: usize, out: &mut Vec<u8>) {
    if let Some(values) = list(array, row) {
        write_all(out, [b'[', b']'], values.len(), &mut |place, out| write(&values, place, out));
        return;
    }
    match array.data_type() {
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            write_all(out, [b'{', b'}'], fields.len(), &mut |place, out| {
                json_text(fields[place].name(), out);
                out.push(b':');
                write(&columns[place], row, out);
            });
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            write_all(out, [b'{', b'}'], entries.len(), &mut |place, out| {
                json_text(cell(entries.column(0), place).as_str().unwrap_or_default(), out);
                out.push(b':');
                write(entries.column(1), place, out);
            });
        }
        // A union; Parquet has none.
        _ => out.extend(b"null"),
    }
}

fn write_all(
    out: &mut Vec<u8>,
    [open, close]: [u8; 2],
    count: usize,
    each: &mut dyn FnMut(usize, &mut Vec<u8>),
) {
    out.push(open);
    for place in 0..count {
        if place > 0 {
            out.push(b',');
        }
        each(place, out);
    }
    out.push(close);
}

fn write(array: &dyn Array, row: usize, out: &mut Vec<u8>) {
    if array.data_type().is_nested() && array.is_valid(row) {
        write_nested(array, row, out);
    } else {
        cell(array, row).write_json(out);
    }
}

/// The values of a list.
fn list(array: &dyn Array, row: usize) -> Option<ArrayRef> {
    match array.data_type() {
        DataType::List(_) => Some(array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => Some(array.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => Some(array.as_fixed_size_list().value(row)),
        DataType::ListView(_) => Some(array.as_list_view::<i32>().value(row)),
        DataType::LargeListView(_) => Some(array.as_list_view::<i64>().value(row)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::builder::{Int32Builder, ListBuilder, MapBuilder, StringBuilder};
    use arrow_array::{
        BinaryViewArray, BooleanArray, Date32Array, Date64Array, Decimal32Array, Decimal64Array,
        Decimal128Array, Decimal256Array, DictionaryArray, DurationMillisecondArray, FixedSizeBinaryArray,
        Float16Array, Float32Array, Float64Array, Int8Array, Int64Array, IntervalYearMonthArray,
        LargeBinaryArray, LargeStringArray, NullArray, StringArray, StringViewArray, StructArray,
        Time32SecondArray, Time64MicrosecondArray, TimestampMicrosecondArray, TimestampSecondArray,
        UInt64Array,
    };
    use arrow_schema::Field;
    use half::f16;

    use super::*;

    /// The cells of an array, as JSON; every array ends with a null.
    #[track_caller]
    fn holds(array: &dyn Array, expected: &[&str]) {
        let written = |row: usize| {
            let mut out = Vec::new();
            cell(array, row).write_json(&mut out);
            String::from_utf8(out).unwrap()
        };
        let cells: Vec<String> = (0..array.len()).map(written).collect();
        assert_eq!(cells, expected, "{}", array.data_type());
    }

    #[test]
    fn numbers_keep_their_digits() {
        holds(&Int8Array::from(vec![Some(-128), None]), &["-128", "null"]);
        holds(&UInt64Array::from(vec![Some(u64::MAX), None]), &["18446744073709551615", "null"]);
        holds(
            &Float64Array::from(vec![1.0, 0.1, 1e-7, 1e21, f64::NAN]),
            &["1.0", "0.1", "1e-7", "1e+21", "null"],
        );
        holds(&Float32Array::from(vec![0.1, 16_777_216.0, f32::INFINITY]), &["0.1", "16777216.0", "\"inf\""]);
        let halves = [0.1, 1.0, 0.3333, 65504.0].map(f16::from_f32);
        holds(&Float16Array::from(halves.to_vec()), &["0.1", "1.0", "0.3333", "65500.0"]);
        let decimal = |digits, scale| {
            Decimal128Array::from(vec![Some(digits), None]).with_precision_and_scale(38, scale).unwrap()
        };
        holds(&decimal(110, 2), &["1.10", "null"]);
        holds(&decimal(-5, 3), &["-0.005", "null"]);
        holds(
            &decimal(123_456_789_012_345_678_901_234_567_890, 0),
            &["123456789012345678901234567890", "null"],
        );
        holds(&Decimal32Array::from(vec![150]).with_precision_and_scale(9, 1).unwrap(), &["15.0"]);
        holds(&Decimal64Array::from(vec![150]).with_precision_and_scale(18, 2).unwrap(), &["1.50"]);
        let wide =
            Decimal256Array::from(vec![arrow_array::types::Decimal256Type::MAX_FOR_EACH_PRECISION[50]]);
        holds(&wide.with_precision_and_scale(76, 0).unwrap(), &["9".repeat(50).as_str()]);
        assert_eq!(cell(&Float64Array::from(vec![f64::NAN]), 0).label(), None);
        assert_eq!(cell(&Float32Array::from(vec![0.1]), 0).label().as_deref(), Some("0.1"));
    }

    #[test]
    fn times_are_iso_8601() {
        holds(&Date32Array::from(vec![Some(19_753), None]), &["\"2024-01-31\"", "null"]);
        holds(&Date32Array::from(vec![i32::MAX]), &["\"2147483647\""]);
        holds(&Date64Array::from(vec![1_706_659_200_000]), &["\"2024-01-31T00:00:00\""]);
        holds(&TimestampSecondArray::from(vec![0]), &["\"1970-01-01T00:00:00\""]);
        let zoned = TimestampMicrosecondArray::from(vec![1_500_000]).with_timezone("Europe/Berlin");
        holds(&zoned, &["\"1970-01-01T00:00:01.500Z\""]);
        holds(&Time32SecondArray::from(vec![3661]), &["\"01:01:01\""]);
        holds(&Time64MicrosecondArray::from(vec![1]), &["\"00:00:00.000001\""]);
        holds(
            &DurationMillisecondArray::from(vec![1500, -20, 3000]),
            &["\"PT1.5S\"", "\"PT-0.02S\"", "\"PT3S\""],
        );
        holds(&IntervalYearMonthArray::from(vec![14]), &["\"P14M\""]);
    }

    #[test]
    fn texts_bytes_and_dictionaries() {
        let texts = vec![Some("a\"é"), Some(""), None];
        let expected = ["\"a\\\"é\"", "\"\"", "null"];
        holds(&StringArray::from(texts.clone()), &expected);
        holds(&LargeStringArray::from(texts.clone()), &expected);
        holds(&StringViewArray::from(texts.clone()), &expected);
        holds(&BooleanArray::from(vec![Some(true), None]), &["true", "null"]);
        holds(&NullArray::new(1), &["null"]);
        holds(&LargeBinaryArray::from(vec![Some(&b"a\xff"[..]), None]), &["\"61ff\"", "null"]);
        let fixed = FixedSizeBinaryArray::try_from_iter([[1_u8, 2]].iter()).unwrap();
        holds(&fixed, &["\"0102\""]);
        let keys = [Some(1_i8), None, Some(0)];
        let values = Arc::new(StringViewArray::from(vec!["x", "y"]));
        holds(&DictionaryArray::new(Int8Array::from(keys.to_vec()), values), &["\"y\"", "null", "\"x\""]);
        let numbers = Arc::new(Int64Array::from(vec![7]));
        holds(&DictionaryArray::new(UInt64Array::from(vec![0]), numbers), &["7"]);
        let bytes = BinaryViewArray::from(vec![Some(&b"text"[..]), Some(b"\xff"), None]);
        assert_eq!(text(&bytes, 0), Ok(Cell::Text("text".into())));
        assert_eq!([text(&bytes, 1), text(&bytes, 2)], [Err(0), Ok(Cell::Null)]);
    }

    #[test]
    fn nested_values_are_json() {
        let mut lists = ListBuilder::new(Int32Builder::new());
        lists.append_value([Some(1), None]);
        lists.append_null();
        holds(&lists.finish(), &["[1,null]", "null"]);
        let fields =
            [("a\"", DataType::Int8), ("b", DataType::Utf8)].map(|(name, kind)| Field::new(name, kind, true));
        let columns: Vec<ArrayRef> =
            vec![Arc::new(Int8Array::from(vec![1])), Arc::new(StringArray::from(vec!["x"]))];
        holds(&StructArray::new(fields.to_vec().into(), columns, None), &["{\"a\\\"\":1,\"b\":\"x\"}"]);
        let mut maps = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
        maps.keys().append_value("k");
        maps.values().append_value(3);
        maps.append(true).unwrap();
        let maps = maps.finish();
        holds(&maps, &["{\"k\":3}"]);
        assert_eq!(size(&maps, 0), 9);
    }
}
