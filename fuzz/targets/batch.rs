#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| ringmain_fuzz::engine("batch", input));
