//! The site's configuration, read once per process from plugstack.conf's arguments or the file they name.

use stasis_contract::SiteConfig;
use std::error::Error;
use std::sync::OnceLock;

static SITE: OnceLock<SiteConfig> = OnceLock::new();

/// Reads the configuration: `config=/path/to/stasis.toml` alone, or the file's keys as arguments.
pub(crate) fn load(arguments: &[&str]) -> Result<(), Box<dyn Error>> {
    if SITE.get().is_none() {
        let _ = SITE.set(read(arguments)?);
    }
    Ok(())
}

/// The configuration; the default one where `load` has failed.
pub(crate) fn site() -> &'static SiteConfig {
    SITE.get_or_init(SiteConfig::default)
}

fn read(arguments: &[&str]) -> Result<SiteConfig, Box<dyn Error>> {
    match arguments {
        [only] if only.starts_with("config=") => {
            let path = &only["config=".len()..];
            let text =
                std::fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"))?;
            SiteConfig::from_toml(&text).map_err(|error| format!("{path}: {error}").into())
        }
        _ => SiteConfig::from_arguments(arguments.iter().copied())
            .map_err(|error| format!("plugstack.conf: {error}").into()),
    }
}
