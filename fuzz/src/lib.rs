//! The targets of the engine and the broker by name, for libFuzzer. See `scripts/fuzz`.
#![forbid(unsafe_code)]

/// Gives an input to one of the engine's targets.
///
/// # Panics
/// Something is wrong with the engine, or there is no such target.
pub fn engine(name: &str, input: &[u8]) {
    let target = ringmain_engine::fuzzing::TARGETS.iter().find(|target| target.name == name);
    (target.expect("a target of the engine").run)(input);
}

/// Gives an input to one of the broker's targets.
///
/// # Panics
/// Something is wrong with the broker, or there is no such target.
pub fn server(name: &str, input: &[u8]) {
    let target = ringmain::fuzzing::TARGETS.iter().find(|target| target.name == name);
    (target.expect("a target of the broker").run)(input);
}
