//! Name lookups in the capsule. A node that asks a resolver of its own on a loopback address (systemd-resolved) is
//! not reached from inside at that address, so the capsule is given one that pasta forwards to it.

use std::net::IpAddr;

/// Address inside the capsule that pasta forwards to the node's own resolver.
pub const FORWARDED: &str = "10.0.2.3";

/// The capsule's resolv.conf(5), if it has to differ from the node's.
pub fn for_capsule(resolv_conf: &str) -> Option<String> {
    let is_loopback = |line: &str| {
        let mut words = line.split_whitespace();
        words.next() == Some("nameserver")
            && words
                .next()
                .and_then(|word| word.parse::<IpAddr>().ok())
                .is_some_and(|address| address.is_loopback())
    };
    if !resolv_conf.lines().any(is_loopback) {
        return None;
    }
    let others = resolv_conf.lines().filter(|line| !is_loopback(line));
    let lines: Vec<String> =
        std::iter::once(format!("nameserver {FORWARDED}")).chain(others.map(str::to_owned)).collect();
    Some(lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_loopback_resolver_is_replaced() {
        assert_eq!(for_capsule("nameserver 192.0.2.1\nsearch example.org\n"), None);
        assert_eq!(for_capsule(""), None);
        assert_eq!(
            for_capsule("# stub\nnameserver 127.0.0.53\noptions edns0\nsearch example.org\n").as_deref(),
            Some("nameserver 10.0.2.3\n# stub\noptions edns0\nsearch example.org\n")
        );
    }
}
