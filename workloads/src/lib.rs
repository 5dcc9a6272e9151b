//! Session and spot traces: formats, importers, seeded generators, fits.
