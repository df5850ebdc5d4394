//! The variable-length integers inside record batches (zigzag, 7 bits a byte).

use bytes::BufMut;

/// Writes a signed integer; also right for the 32-bit ones, which share the encoding.
pub fn put(buffer: &mut impl BufMut, value: i64) {
    // Zigzag: the sign goes to the lowest bit, so small negative numbers stay short.
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        buffer.put_u8((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    buffer.put_u8(rest as u8);
}

/// How many bytes [`put`] writes.
#[must_use]
pub fn length(value: i64) -> usize {
    let zigzag = ((value << 1) ^ (value >> 63)).cast_unsigned();
    let bits = (64 - zigzag.leading_zeros()).max(1) as usize;
    bits.div_ceil(7)
}

/// Reads an integer of at most 64 bits from the front of `bytes`: the value and its length.
/// `None` when the bytes end in the middle or the number is longer than 64 bits allow.
#[must_use]
pub fn get(bytes: &[u8]) -> Option<(i64, usize)> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().enumerate().take(10) {
        if index == 9 && *byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let decoded = (value >> 1).cast_signed() ^ -((value & 1).cast_signed());
            return Some((decoded, index + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values_have_known_bytes() {
        for (value, bytes) in [
            (0_i64, &[0_u8][..]),
            (-1, &[1]),
            (1, &[2]),
            (-64, &[0x7f]),
            (64, &[0x80, 0x01]),
            (300, &[0xd8, 0x04]),
        ] {
            let mut buffer = Vec::new();
            put(&mut buffer, value);
            assert_eq!(buffer, bytes, "{value}");
        }
    }

    #[test]
    fn what_is_written_is_read_back_with_the_announced_length() {
        for shift in 0..64 {
            for value in [1_i64 << shift, (1_i64 << shift).wrapping_neg(), i64::MAX >> shift] {
                let mut buffer = Vec::new();
                put(&mut buffer, value);
                assert_eq!(buffer.len(), length(value));
                assert_eq!(get(&buffer), Some((value, buffer.len())));
                assert_eq!(get(&buffer[..buffer.len() - 1]), None);
            }
        }
    }

    #[test]
    fn too_long_a_number_is_refused() {
        assert_eq!(get(&[0xff; 11]), None);
        let mut eleven_bits_too_many = [0xff; 10];
        eleven_bits_too_many[9] = 0x02;
        assert_eq!(get(&eleven_bits_too_many), None);
    }
}
