//! Escapes in arguments, which shells make hard to write otherwise: `\t`, `\n`, `\r`, `\0`, `\\`, `\xHH`.

/// The bytes that a text with escapes stands for.
///
/// # Errors
/// What is wrong with it.
pub(super) fn unescaped(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let escape = &rest[at + 1..];
        let kind = escape.chars().next();
        let (byte, length) = match kind {
            Some('t') => (b'\t', 1),
            Some('n') => (b'\n', 1),
            Some('r') => (b'\r', 1),
            Some('0') => (0, 1),
            Some('\\') => (b'\\', 1),
            Some('x') => {
                let digits =
                    escape.get(1..3).filter(|digits| digits.bytes().all(|one| one.is_ascii_hexdigit()));
                let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                (byte.ok_or("\\x takes two hexadecimal digits, as in \\x1f")?, 3)
            }
            _ => {
                return Err(
                    "escapes are \\t, \\n, \\r, \\0, \\\\ and \\xHH; write \\\\ for a backslash".to_owned()
                );
            }
        };
        bytes.push(byte);
        rest = &escape[length..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::unescaped;

    #[test]
    fn escapes_stand_for_bytes() {
        assert_eq!(unescaped(r"a\tb\\\x1f\n\r\0é").unwrap(), b"a\tb\\\x1f\n\r\0\xc3\xa9");
        assert_eq!(unescaped("").unwrap(), b"");
        for wrong in ["\\", "\\q", "\\x", "\\x1", "\\xg0", "\\x\u{e9}", "\\x+1"] {
            assert!(unescaped(wrong).is_err(), "{wrong}");
        }
    }
}
