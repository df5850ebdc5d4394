//! Compression of record batches, with bounded output when decompressing.
//!
//! A batch is compressed as one piece. Producers differ in how: Java writes snappy in the
//! xerial framing, librdkafka writes it raw; gzip, lz4 and zstd may be several frames in a row.
//! All of it is read; what is written is read by all of them.

use std::fmt;
use std::io::{self, Read, Write};

use flate2::Compression as GzipLevel;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

/// Compression level of zstd: its own default.
const ZSTD_LEVEL: i32 = 3;
/// Compression level of lz4: the fast one; above 2 it is an order of magnitude slower.
const LZ4_LEVEL: u32 = 1;
/// Start of the framing that snappy-java writes: magic, version, lowest compatible version.
const XERIAL_HEADER: &[u8; 16] = b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01";
/// Of those, the bytes that identify the framing.
const XERIAL_MAGIC_BYTES: usize = 8;
/// Block size of the xerial framing, as snappy-java has it.
const XERIAL_BLOCK_BYTES: usize = 32 * 1024;
/// The first allocation for decompressed bytes; it grows from there.
const OUTPUT_START_BYTES: usize = 64 * 1024;

/// How the records of a batch are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Compression {
    /// As they are.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// snappy.
    Snappy,
    /// lz4 frames.
    Lz4,
    /// zstd.
    Zstd,
}

impl Compression {
    /// The number in the attributes of a batch.
    #[must_use]
    pub const fn code(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// The compression of a number in the attributes of a batch.
    #[must_use]
    pub const fn from_code(code: i16) -> Option<Self> {
        match code {
            0 => Some(Self::None),
            1 => Some(Self::Gzip),
            2 => Some(Self::Snappy),
            3 => Some(Self::Lz4),
            4 => Some(Self::Zstd),
            _ => None,
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        })
    }
}

/// Why bytes could not be compressed or decompressed.
#[derive(Debug, thiserror::Error)]
pub enum CompressionError {
    /// The codec refused the bytes.
    #[error("the {compression} data is damaged or of an unknown kind: {source}")]
    Codec {
        /// The codec.
        compression: Compression,
        /// What it said.
        source: io::Error,
    },
    /// The decompressed bytes would exceed the limit.
    #[error("the {compression} data decompresses to more than {limit} bytes")]
    TooLarge {
        /// The codec.
        compression: Compression,
        /// The limit on decompressed bytes.
        limit: usize,
    },
}

/// Appends the compressed form of `input` to `output`.
///
/// # Errors
/// When the codec fails, which for writing to memory is no ordinary event.
pub fn compress(
    compression: Compression,
    input: &[u8],
    output: &mut Vec<u8>,
) -> Result<(), CompressionError> {
    let result = match compression {
        Compression::None => {
            output.extend_from_slice(input);
            Ok(())
        }
        Compression::Gzip => {
            let mut encoder = GzEncoder::new(output, GzipLevel::default());
            encoder.write_all(input).and_then(|()| encoder.finish().map(drop))
        }
        Compression::Snappy => compress_snappy(input, output),
        Compression::Lz4 => lz4::EncoderBuilder::new()
            .level(LZ4_LEVEL)
            .block_mode(lz4::BlockMode::Independent)
            .build(output)
            .and_then(|mut encoder| {
                encoder.write_all(input)?;
                encoder.finish().1
            }),
        Compression::Zstd => zstd::stream::copy_encode(input, output, ZSTD_LEVEL),
    };
    result.map_err(|source| CompressionError::Codec { compression, source })
}

/// Decompresses `input`, never holding more than `limit` bytes of output.
///
/// # Errors
/// When the data is damaged, or decompresses to more than `limit` bytes.
pub fn decompress(compression: Compression, input: &[u8], limit: usize) -> Result<Vec<u8>, CompressionError> {
    let mut output = Vec::new();
    let result = match compression {
        Compression::None => read_bounded(input, limit, &mut output),
        Compression::Gzip => read_bounded(MultiGzDecoder::new(input), limit, &mut output),
        Compression::Snappy => decompress_snappy(input, limit, &mut output),
        Compression::Lz4 => decompress_lz4(input, limit, &mut output),
        Compression::Zstd => zstd::stream::read::Decoder::with_buffer(input)
            .and_then(|decoder| read_bounded(decoder, limit, &mut output)),
    };
    match result {
        Ok(Fit::Within) => Ok(output),
        Ok(Fit::TooLarge) => Err(CompressionError::TooLarge { compression, limit }),
        Err(source) => Err(CompressionError::Codec { compression, source }),
    }
}

/// Whether the output stayed within its limit.
#[derive(PartialEq)]
enum Fit {
    Within,
    TooLarge,
}

/// Appends what `reader` gives to `output` until its end or until `output` exceeds `limit`.
fn read_bounded(reader: impl Read, limit: usize, output: &mut Vec<u8>) -> io::Result<Fit> {
    let room = (limit - output.len().min(limit)) as u64;
    output.reserve(OUTPUT_START_BYTES.min(limit));
    // One byte more than there is room for tells "exactly full" from "too large".
    let read = reader.take(room + 1).read_to_end(output)? as u64;
    Ok(if read > room { Fit::TooLarge } else { Fit::Within })
}

fn decompress_lz4(input: &[u8], limit: usize, output: &mut Vec<u8>) -> io::Result<Fit> {
    let mut rest = input;
    // Every frame takes at least one byte of the input, which bounds this loop.
    while !rest.is_empty() {
        let before = rest.len();
        let mut decoder = lz4::Decoder::new(rest)?;
        if read_bounded(&mut decoder, limit, output)? == Fit::TooLarge {
            return Ok(Fit::TooLarge);
        }
        let (unread, finished) = decoder.finish();
        finished?;
        rest = unread;
        if rest.len() == before {
            return Err(invalid("the frame has no bytes"));
        }
    }
    Ok(Fit::Within)
}

fn compress_snappy(input: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
    let mut encoder = snap::raw::Encoder::new();
    output.extend_from_slice(XERIAL_HEADER);
    for block in input.chunks(XERIAL_BLOCK_BYTES) {
        let compressed = encoder.compress_vec(block)?;
        let length = u32::try_from(compressed.len()).map_err(|_| invalid("a block is too long"))?;
        output.extend_from_slice(&length.to_be_bytes());
        output.extend_from_slice(&compressed);
    }
    Ok(())
}

fn decompress_snappy(input: &[u8], limit: usize, output: &mut Vec<u8>) -> io::Result<Fit> {
    let framed = input.len() >= XERIAL_HEADER.len()
        && input[..XERIAL_MAGIC_BYTES] == XERIAL_HEADER[..XERIAL_MAGIC_BYTES];
    if !framed {
        return decompress_snappy_block(input, limit, output);
    }
    let mut rest = &input[XERIAL_HEADER.len()..];
    while !rest.is_empty() {
        // Streams that were joined repeat the header.
        if let Some(next) = rest.strip_prefix(XERIAL_HEADER) {
            rest = next;
            continue;
        }
        let (length, after) =
            rest.split_first_chunk::<4>().ok_or_else(|| invalid("it ends in the length of a block"))?;
        let length = u32::from_be_bytes(*length) as usize;
        if length > after.len() {
            return Err(invalid("it ends in a block"));
        }
        let (block, next) = after.split_at(length);
        if decompress_snappy_block(block, limit, output)? == Fit::TooLarge {
            return Ok(Fit::TooLarge);
        }
        rest = next;
    }
    Ok(Fit::Within)
}

fn decompress_snappy_block(block: &[u8], limit: usize, output: &mut Vec<u8>) -> io::Result<Fit> {
    // The length is only announced: compare it with the limit before allocating.
    let length = snap::raw::decompress_len(block)?;
    let start = output.len();
    if length > limit.saturating_sub(start) {
        return Ok(Fit::TooLarge);
    }
    output.resize(start + length, 0);
    let written = snap::raw::Decoder::new().decompress(block, &mut output[start..])?;
    output.truncate(start + written);
    Ok(Fit::Within)
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    fn sample(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|i| (i / 7 % 251) as u8).collect()
    }

    fn compressed(compression: Compression, input: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        compress(compression, input, &mut output).unwrap();
        output
    }

    #[test]
    fn every_codec_gives_back_what_it_took() {
        for compression in ALL {
            for bytes in [0, 1, 100, XERIAL_BLOCK_BYTES, 200_000] {
                let input = sample(bytes);
                let packed = compressed(compression, &input);
                let output = decompress(compression, &packed, bytes).unwrap();
                assert_eq!(output, input, "{compression}, {bytes} bytes");
            }
        }
    }

    #[test]
    fn output_is_bounded() {
        for compression in ALL {
            let packed = compressed(compression, &vec![0; 1_000_000]);
            let result = decompress(compression, &packed, 999_999);
            assert!(
                matches!(result, Err(CompressionError::TooLarge { limit: 999_999, .. })),
                "{compression}"
            );
        }
    }

    #[test]
    fn frames_in_a_row_are_read_to_the_end() {
        let (first, second) = (sample(70_000), sample(3));
        for compression in ALL {
            let mut packed = compressed(compression, &first);
            packed.extend(compressed(compression, &second));
            let output = decompress(compression, &packed, 1 << 20).unwrap();
            assert_eq!(output, [&first[..], &second].concat(), "{compression}");
        }
    }

    #[test]
    fn raw_snappy_is_read() {
        let input = sample(100_000);
        let packed = snap::raw::Encoder::new().compress_vec(&input).unwrap();
        assert_eq!(decompress(Compression::Snappy, &packed, input.len()).unwrap(), input);
    }

    #[test]
    fn an_announced_length_is_not_believed() {
        // Raw snappy that announces 4 GiB - 1 and brings nothing.
        let packed = [0xff, 0xff, 0xff, 0xff, 0x0f];
        assert!(matches!(
            decompress(Compression::Snappy, &packed, 1 << 20),
            Err(CompressionError::TooLarge { .. })
        ));
    }

    #[test]
    fn cut_data_is_an_error() {
        for compression in [Compression::Gzip, Compression::Snappy, Compression::Zstd] {
            let packed = compressed(compression, &sample(10_000));
            let cut = &packed[..packed.len() - 1];
            assert!(decompress(compression, cut, 1 << 20).is_err(), "{compression}");
        }
    }

    #[test]
    fn codes_round_trip() {
        for compression in ALL {
            assert_eq!(Compression::from_code(compression.code()), Some(compression));
        }
        assert_eq!(Compression::from_code(5), None);
    }
}
