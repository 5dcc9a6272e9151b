//! The addresses of a cluster. Each cluster takes a /24 of 10.77.0.0/16 that neither a route of this machine
//! nor another cluster uses, and leaves no name in the host's network but one link.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::command::host;
use crate::error::{Error, Result};

/// A cluster's network: 10.77.`third`.0/24.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Subnet {
    third: u8,
}

impl Subnet {
    /// The first subnet that nothing uses.
    pub(crate) fn unused(taken: &[Subnet]) -> Result<Self> {
        let routes = routes()?;
        let free = |subnet: &Subnet| !taken.contains(subnet) && !routes.iter().any(|r| r.overlaps(*subnet));
        (0..=u8::MAX).map(|third| Self { third }).find(free).ok_or(Error::NoSubnet)
    }

    /// The address of the node at `index`: 0 is the controller.
    pub(crate) fn node(self, index: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.third, index as u8 + 1)
    }

    /// The address that the machine itself has in the cluster's network.
    pub(crate) fn host(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.third, 254)
    }

    /// The hardware address of the node at `index`: constant, so that the others' ARP entries survive its restart.
    pub(crate) fn mac(self, index: usize) -> String {
        format!("02:53:54:42:{:02x}:{:02x}", self.third, index + 1)
    }
}

/// A destination that this machine routes somewhere.
#[derive(Debug, PartialEq, Eq)]
struct Route {
    address: Ipv4Addr,
    bits: u32,
}

impl Route {
    /// Reads `10.0.0.0/8` or `10.0.0.1`; `default` is no route that a subnet could be in the way of.
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/').unwrap_or((text, "32"));
        Some(Self { address: address.parse().ok()?, bits: bits.parse().ok().filter(|bits| *bits <= 32)? })
    }

    fn overlaps(&self, subnet: Subnet) -> bool {
        let bits = self.bits.min(24);
        let mask = if bits == 0 { return false } else { u32::MAX << (32 - bits) };
        u32::from(self.address) & mask == u32::from(subnet.node(0)) & mask
    }
}

fn routes() -> Result<Vec<Route>> {
    let args = ["-4", "-j", "route", "show", "table", "all"];
    let text = host("list the machine's routes", "ip", &args)?.stdout;
    let bad = |_| Error::Parse { what: "the machine's routes", text: text.clone() };
    let routes: Vec<serde_json::Value> = serde_json::from_str(&text).map_err(bad)?;
    Ok(routes.iter().filter_map(|route| Route::parse(route.get("dst")?.as_str()?)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_overlaps_what_it_contains_and_what_contains_it() {
        let subnet = Subnet { third: 3 };
        for (route, expected) in [
            ("10.0.0.0/8", true),
            ("10.77.3.0/24", true),
            ("10.77.3.9", true),
            ("10.77.4.0/24", false),
            ("192.168.0.0/16", false),
            ("0.0.0.0/0", false),
        ] {
            assert_eq!(Route::parse(route).unwrap().overlaps(subnet), expected, "{route}");
        }
        assert_eq!(Route::parse("default"), None);
    }
}
