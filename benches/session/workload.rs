//! What a session holds: an array of which half is noise and half compresses well, in turns of 16 MB, so that what
//! is saved first is like what is saved last.

/// The port that the servers listen on.
pub const PORT: u16 = 8888;
/// What lets the bench into the servers.
pub const TOKEN: &str = "a-token-of-the-bench";

/// One session's content.
#[derive(Debug, Clone, Copy)]
pub struct Workload {
    /// Length of the array.
    pub bytes: u64,
    /// Of the generator that fills it.
    pub seed: u64,
}

impl Workload {
    /// The line of shell that runs Jupyter's server.
    pub fn server(folder: &str) -> String {
        format!(
            "exec jupyter server --allow-root --no-browser --ip=0.0.0.0 --port={PORT} --ServerApp.port_retries=0 \
             --IdentityProvider.token={TOKEN} --ServerApp.root_dir={folder}\n"
        )
    }

    /// Fills the kernel; prints the array's checksum.
    pub fn fill(&self) -> String {
        let Self { bytes, seed } = self;
        format!(
            "import numpy, zlib\n\
             rng, turn = numpy.random.default_rng({seed}), 1 << 24\n\
             array = numpy.empty({bytes}, numpy.uint8)\n\
             for begin in range(0, {bytes}, turn):\n\
             \x20   part = array[begin:begin + turn]\n\
             \x20   noise = begin // turn % 2 == 0\n\
             \x20   numbers = rng.integers(1 << 63, size=turn // 8) if noise else numpy.arange(begin, begin + turn // 8)\n\
             \x20   part[:] = numbers.astype(numpy.int64).view(numpy.uint8)[:len(part)]\n\
             del part, numbers\n\
             print(zlib.crc32(array))\n"
        )
    }

    /// What the session is asked when it should be back: it needs a page of the array, and next to no time.
    pub fn question() -> &'static str {
        "print(array.size + int(array[0]) * 0)"
    }

    /// The right answer to it.
    pub fn answer(&self) -> String {
        self.bytes.to_string()
    }

    /// Prints the checksum again.
    pub fn checksum() -> &'static str {
        "print(zlib.crc32(array))"
    }
}
