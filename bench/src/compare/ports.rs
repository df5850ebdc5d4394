//! Free ports of the loopback address for those who must be told theirs.

use std::net::TcpListener;

/// Where ports begin that no system uses itself.
const LOWEST: u16 = 12_000;
/// The end where the kernel does not say from where on it takes ports for outgoing connections.
const HIGHEST: u16 = 32_000;
/// Ports tried at most.
const TRIES: u32 = 2_000;

/// `N` ports in a row that are free now. They lie below those of outgoing connections: a client that
/// keeps connecting while its broker is down could else be given the broker's own port.
pub(crate) fn free_ports(count: u16) -> std::io::Result<u16> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let end = range.split_whitespace().next().and_then(|low| low.parse().ok()).unwrap_or(HIGHEST);
    let span = u32::from(end.max(LOWEST + 1_000) - LOWEST - count);
    // Different for two runs at the same time.
    let mut place = std::process::id().wrapping_mul(7_919).wrapping_add(clock_noise());
    for _ in 0..TRIES {
        place = place.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let first = LOWEST + ((place >> 8) % span) as u16;
        let all: Result<Vec<_>, _> =
            (first..first + count).map(|port| TcpListener::bind(("127.0.0.1", port))).collect();
        if all.is_ok() {
            return Ok(first);
        }
    }
    Err(std::io::Error::new(std::io::ErrorKind::AddrInUse, "no free ports on 127.0.0.1"))
}

fn clock_noise() -> u32 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_and_of_loopback_only() {
        let first = free_ports(3).unwrap();
        let held: Vec<_> =
            (first..first + 3).map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap()).collect();
        assert_eq!(held.len(), 3);
        assert_ne!(free_ports(3).unwrap(), first);
    }
}
