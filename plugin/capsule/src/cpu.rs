//! CPU features: a restored process dies of an illegal instruction on a CPU that lacks what it has learnt to
//! use, so a node is compared before anything is restored there.

use std::collections::BTreeSet;

/// This node's CPU features, sorted: the `flags` (x86) or `Features` (arm64) line of /proc/cpuinfo.
pub fn features() -> Vec<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    parse(&text).into_iter().collect()
}

fn parse(cpuinfo: &str) -> BTreeSet<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("flags") || line.starts_with("Features"));
    let words = line.and_then(|line| line.split_once(':')).map(|(_, words)| words).unwrap_or_default();
    words.split_whitespace().map(str::to_owned).collect()
}

/// What an image's node had and this one lacks. Power and virtualisation flags differ between equal CPUs and
/// are seen by no program, so only those that stand for instructions count.
pub fn missing(image: &[String], node: &[String]) -> Vec<String> {
    let node: BTreeSet<_> = node.iter().collect();
    image.iter().filter(|flag| is_instruction_set(flag) && !node.contains(flag)).cloned().collect()
}

fn is_instruction_set(flag: &str) -> bool {
    const PREFIXES: [&str; 17] = [
        "sse", "ssse", "avx", "amx", "aes", "vaes", "bmi", "fma", "sha", "gfni", "vpclmul", "pclmul", "adx",
        "popcnt", "movbe", "rd", "xsave",
    ];
    const OTHERS: [&str; 8] = ["abm", "f16c", "clflushopt", "clwb", "serialize", "pku", "movdiri", "sve"];
    PREFIXES.iter().any(|prefix| flag.starts_with(prefix)) || OTHERS.contains(&flag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_missing_instructions_count() {
        let image: Vec<String> =
            parse("x\nflags\t\t: fpu avx2 avx512f arat md_clear\n").into_iter().collect();
        let node = vec!["fpu".to_owned(), "avx2".to_owned()];
        assert_eq!(missing(&image, &node), ["avx512f"]);
        assert!(missing(&node, &image).is_empty());
    }
}
