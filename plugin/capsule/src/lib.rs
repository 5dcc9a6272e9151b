//! The mechanism of checkpoint and restore: namespaces, network, CRIU.
