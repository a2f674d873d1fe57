//! String coercion: what a text from a settings file
//! means.

/// The value that a string stands for.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    /// `none`, in any case.
    None,
    /// `true` or `false`, in any case.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a point or an exponent.
    Float(f64),
    /// Anything else, without the space around it.
    Text(String),
}

/// Reads a settings value: whole number, number, `none`, `true`, `false`, or
/// else the text itself.
///
/// ```
/// use dogpile::config::{Scalar, coerce};
///
/// assert_eq!(coerce(" 42 "), Scalar::Int(42));
/// assert_eq!(coerce("0.5"), Scalar::Float(0.5));
/// assert_eq!(coerce("None"), Scalar::None);
/// assert_eq!(coerce("TRUE"), Scalar::Bool(true));
/// assert_eq!(coerce("5m"), Scalar::Text("5m".into()));
/// ```
pub fn coerce(text: &str) -> Scalar {
    let text = text.trim();
    if let Ok(number) = text.parse() {
        return Scalar::Int(number);
    }
    match text.to_ascii_lowercase().as_str() {
        "none" => Scalar::None,
        "true" => Scalar::Bool(true),
        "false" => Scalar::Bool(false),
        // Rust would read these words as floats.
        "inf" | "infinity" | "nan" => Scalar::Text(text.to_owned()),
        _ => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Scalar::Float(number),
            _ => Scalar::Text(text.to_owned()),
        },
    }
}
